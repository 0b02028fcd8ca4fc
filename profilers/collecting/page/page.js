// The page of a phone: claims the job behind its link, measures, shows how far it is, and goes on after a reload.

import { ask, measure, randomSecret, Refusal } from "./portions.js";

const STORED = "snapnas-session"; // {sessionKey, token, provider, threads}

const element = (id) => document.getElementById(id);

let wakeLock;
let startedMs;
let startedDone;

async function main() {
  const token = location.hash.slice(1);
  history.replaceState(null, "", "/"); // the link works once; nobody needs to read it from the address bar
  const stored = JSON.parse(localStorage.getItem(STORED));
  fillChoices();
  element("what").textContent = `${navigator.hardwareConcurrency ?? "?"} cores, ${
    self.crossOriginIsolated ? "exact clock" : "coarse clock (no HTTPS): longer samples"
  }`;
  if (stored && (!token || token === stored.token)) {
    element("start").textContent = "Go on";
    await run(stored, () => ask("/api/job", { sessionKey: stored.sessionKey }));
  } else if (token) {
    element("start").disabled = false;
    element("start").onclick = () => claim(token);
  } else {
    say("Open the whole link, as it stands in the terminal.");
  }
}

function fillChoices() {
  const maxThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 64) : 1;
  for (let threads = 1; threads <= maxThreads; threads *= 2) element("threads").add(new Option(threads));
  element("provider").add(new Option("processor (WebAssembly)", "wasm"));
  if (navigator.gpu) element("provider").add(new Option("graphics (WebGPU)", "webgpu"));
}

async function claim(token) {
  const session = {
    token,
    sessionKey: randomSecret(),
    provider: element("provider").value,
    threads: Number(element("threads").value),
  };
  localStorage.setItem(STORED, JSON.stringify(session)); // before it is sent: a lost answer can be asked for again
  const body = {
    schema_version: 1,
    token,
    session_key: session.sessionKey,
    provider: session.provider,
    threads: session.threads,
    num_cores: navigator.hardwareConcurrency ?? null,
    is_isolated: self.crossOriginIsolated,
    model: await model(),
  };
  await run(session, () => ask("/api/claim", { method: "POST", body }));
}

// The model, where the browser tells it; most tell it in the User-Agent or not at all.
async function model() {
  const hints = await navigator.userAgentData?.getHighEntropyValues(["model"]);
  return /^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}$/.test(hints?.model ?? "") ? hints.model : null;
}

async function run(session, open) {
  for (const id of ["start", "provider", "threads"]) element(id).disabled = true;
  try {
    await keepAwake();
    let job = await open();
    startedMs = performance.now();
    startedDone = job.num_done;
    job = await measure(job, { ...session, show });
    show({ job });
    localStorage.removeItem(STORED);
    say("Done, thank you. You can close this page.");
  } catch (error) {
    say(`It stopped: ${error.message}`);
    if (error instanceof Refusal) localStorage.removeItem(STORED); // anything else may pass: a reload goes on
  } finally {
    await wakeLock?.release();
  }
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

// A phone that dims its screen also slows its processor. The lock is lost when the page is hidden.
async function keepAwake() {
  if (!navigator.wakeLock) return;
  const lock = async () => {
    if (document.visibilityState === "visible") wakeLock = await navigator.wakeLock.request("screen").catch(() => undefined);
  };
  document.addEventListener("visibilitychange", lock);
  await lock();
}

main();
