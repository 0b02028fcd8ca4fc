// The page of a phone: claims the job behind its link, measures, shows how far it is, and goes on after a reload.

import { ask, measure, randomSecret, Refusal } from "./portions.js";
import { Runner } from "./runner.js";

const TOKEN = "snapnas-token"; // of this tab, until it is claimed: a tab that was put to sleep still has it
const LOCK = "snapnas-measuring"; // of all windows of this browser
const STORED = "snapnas-session-2"; // {sessionKey, token, provider, threads, timesSingleRuns}; 1 ran networks in turn

const element = (id) => document.getElementById(id);

let wakeLock;
let startedMs;
let startedDone;

async function main() {
  const token = location.hash.slice(1) || sessionStorage.getItem(TOKEN);
  history.replaceState(null, "", "/"); // the link works once; nobody needs to read it from the address bar
  if (token) {
    sessionStorage.setItem(TOKEN, token);
    element("start").onclick = () => claim(token);
  }
  await fillChoices();
  const stored = JSON.parse(localStorage.getItem(STORED));
  if (stored && (!token || token === stored.token)) {
    await goOn(stored);
  } else if (token) {
    if (stored) {
      element("go-on").hidden = false;
      element("go-on").onclick = () => goOn(stored);
      say("This browser has begun another job. Go on with that, or start the new one and leave it behind.");
    }
    setControls({ disabled: false });
  } else {
    say("Open the whole link, as it stands in the terminal.");
  }
}

function goOn(session) {
  return alone(() => {
    localStorage.setItem(STORED, JSON.stringify(session)); // a link that was refused may have taken its place
    element("go-on").hidden = true;
    return run(session, () => ask("/api/job", { sessionKey: session.sessionKey }));
  });
}

async function fillChoices() {
  const clock = self.crossOriginIsolated ? "" : ", coarse clock (no HTTPS): longer samples";
  element("what").textContent = `${navigator.hardwareConcurrency ?? "?"} cores${clock}`;
  const maxThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 64) : 1;
  for (let threads = 1; threads <= maxThreads; threads *= 2) element("threads").add(new Option(threads));
  element("provider").add(new Option("processor (WebAssembly)", "wasm"));
  if (navigator.gpu) element("provider").add(new Option("graphics (WebGPU)", "webgpu"));
  element("model").value = plainModel((await hints()).model ?? "");
}

// Takes the job once its runtime works here: a browser that cannot run it does not use the link up.
async function claim(token) {
  const session = {
    token,
    sessionKey: randomSecret(),
    provider: element("provider").value,
    threads: Number(element("threads").value),
  };
  const { platformVersion } = await hints();
  const open = (runner) => {
    session.timesSingleRuns = runner.timesSingleRuns;
    localStorage.setItem(STORED, JSON.stringify(session)); // before it is sent: a lost answer can be asked for again
    const body = {
      schema_version: 1,
      token,
      session_key: session.sessionKey,
      provider: session.provider,
      threads: session.threads,
      num_cores: navigator.hardwareConcurrency ?? null,
      has_exact_clock: session.timesSingleRuns,
      model: plainModel(element("model").value) || null,
      system_version: /^\d{1,3}(\.\d{1,3}){0,3}$/.test(platformVersion ?? "") ? platformVersion : null,
      max_touch_points: Math.min(navigator.maxTouchPoints ?? 0, 256),
    };
    return ask("/api/claim", { method: "POST", body });
  };
  await alone(() => run(session, open));
}

// What the browser tells beside the User-Agent; most tell nothing.
async function hints() {
  return (await navigator.userAgentData?.getHighEntropyValues(["model", "platformVersion"])) ?? {};
}

// As the server reads it: letters, digits and a little punctuation.
function plainModel(text) {
  return text.replace(/[^A-Za-z0-9 ._+-]+/g, " ").replace(/^[ ._+-]+/, "").slice(0, 40).trim();
}

// Works as soon as no other window of this browser does: both may be in view, and each would slow the other. It waits
// instead of giving up, because a page that is reloaded may still hold the lock for a moment.
async function alone(work) {
  if (!navigator.locks) return work(); // over plain HTTP
  setControls({ disabled: true });
  say("Another window or tab of this browser measures. This one goes on when that is done or closed.");
  await navigator.locks.request(LOCK, () => {
    say("");
    return work();
  });
}

// Measures the job that `open` gives for a runner, and says how it ended.
async function run(session, open) {
  const isRunning = new AbortController();
  setControls({ disabled: true });
  let job;
  let runner;
  try {
    await keepAwake(isRunning.signal);
    show({ text: "loading the runtime" });
    runner = await Runner.open(session);
    runner.timesSingleRuns = session.timesSingleRuns ?? runner.timesSingleRuns; // as the job's other samples were taken
    job = await open(runner);
    element("go-on").hidden = true;
    sessionStorage.removeItem(TOKEN);
    startedMs = performance.now();
    startedDone = job.num_done;
    job = await measure(job, { ...session, runner, show });
    show({ job });
    localStorage.removeItem(STORED);
    say("Done, thank you. You can close this page.");
  } catch (error) {
    const isRefused = error instanceof Refusal;
    if (isRefused && (!job || error.status === 401)) localStorage.removeItem(STORED); // it speaks for no job (any more)
    const canGoOn = localStorage.getItem(STORED) !== null;
    if (!canGoOn) setControls({ disabled: !sessionStorage.getItem(TOKEN) });
    say(`It stopped: ${error.message}${canGoOn ? ". Reload this page to go on." : ""}`);
  } finally {
    runner?.close();
    isRunning.abort();
    await wakeLock?.release();
  }
}

function setControls({ disabled }) {
  for (const id of ["start", "go-on", "provider", "threads", "model"]) element(id).disabled = disabled;
}

function show({ job, numNew = 0, text }) {
  if (text) element("step").textContent = text;
  if (!job) return;
  const numDone = Math.min(job.num_done + numNew, job.num_total);
  element("progress").value = numDone / job.num_total;
  element("device").textContent = `${job.device}: ${job.num_subjects} ${job.what} of ${job.space}`;
  const share = (numDone - startedDone) / (job.num_total - startedDone);
  const leftS = share > 0 ? ((performance.now() - startedMs) / 1000) * (1 / share - 1) : NaN;
  const left = leftS >= 90 ? `${Math.round(leftS / 60)} min` : `${Math.round(leftS)} s`;
  say(`${Math.round((100 * numDone) / job.num_total)} %${leftS > 0 ? `, at most ${left} left` : ""}`);
}

function say(text) {
  element("status").textContent = text;
}

// A phone that dims its screen also slows its processor. The lock is lost when the page is hidden, and Safari gives it
// only to a page that was tapped: after a reload the next tap asks for it again.
async function keepAwake(signal) {
  if (!navigator.wakeLock) {
    element("awake").textContent = "This page cannot keep the screen on here: turn its automatic lock off.";
    return;
  }
  const lock = async () => {
    if (document.hidden || wakeLock?.released === false) return;
    wakeLock = await navigator.wakeLock.request("screen").catch(() => undefined);
    element("awake").textContent = wakeLock ? "" : "Tap this page once, so that it can keep the screen on.";
  };
  document.addEventListener("visibilitychange", lock, { signal });
  document.addEventListener("pointerup", lock, { signal });
  await lock();
}

main().catch((error) => say(`This page cannot start: ${error.message}`)); // such as a browser that lets it store nothing
