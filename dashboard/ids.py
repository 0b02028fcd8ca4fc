"""The ids of the page's components: the only words that layout, callbacks and tests share."""

URL = "url"
POLL = "poll"
SEEN_STUDY = "seen-study"
SEEN_TRIAL = "seen-trial"

STATUS = "status"
PAUSE = "pause"

STUDIES = "studies"
STUDY = "study"
STUDY_FACTS = "study-facts"
PARETO = "pareto"
PARETO_NOTE = "pareto-note"
FRONT = "front"
HISTORY = "history"

TRIAL = "trial"
BREAKDOWN = "breakdown"
EXPORT = "export"
