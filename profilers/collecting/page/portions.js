// Measures the portions of a job as the server asks for them, and sends the raw samples back.
//
// The server decides what comes next, so this holds nothing that a reload could lose but the session key.

import { Deaths } from "./deaths.js";

const RETRY_DELAYS_MS = [1000, 2000, 4000, 8000, 15000, 30000];
const SENTINEL = "sentinel";
const MAX_DEATHS = 2; // of one block; the first one may have been a reload
const MAX_REFUSALS = 3; // of portions, one after another
const MAX_USUAL_RUN = 1.5; // of the median

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// Asks the server; tries again while it cannot be reached or fails. A refusal is final.
export async function ask(path, { method = "GET", body, sessionKey, as = "json" } = {}) {
  const headers = {};
  if (sessionKey) headers.Authorization = `Bearer ${sessionKey}`;
  if (body) headers["Content-Type"] = "application/json";
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
      if (response.ok) return await response[as]();
      const { error } = await response.json();
      if (response.status !== 429 && response.status < 500) throw new Refusal(error, response.status);
      throw new Error(error);
    } catch (error) {
      if (error instanceof Refusal || attempt >= 20) throw error;
    }
    const delayMs = RETRY_DELAYS_MS[Math.min(attempt, RETRY_DELAYS_MS.length - 1)];
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

// Works on the job until the server asks for nothing more. `show` gets what is happening.
export async function measure(job, { sessionKey, runner, show }) {
  const deaths = new Deaths(job.plan_id);
  const numRuns = new Map(); // key -> runs of a sample; has the models that are loaded
  const download = (key) => ask(`/api/models/${key}`, { sessionKey, as: "arrayBuffer" });
  const load = async (slot, model) => {
    await runner.load(slot, model);
    numRuns.set(slot, await runner.warmUp(slot));
  };
  await load(SENTINEL, await download(job.sentinel.key));
  let group;
  let numRefused = 0;
  while (job.work) {
    if (group !== job.work.group_index) {
      for (const key of [...numRuns.keys()].filter((key) => key !== SENTINEL)) {
        await runner.drop(key);
        numRuns.delete(key);
      }
      group = job.work.group_index;
    }
    const failures = await loadModels(job.work, { deaths, download, load, runner, numRuns, show });
    const portion = await measurePortion(job, { deaths, runner, numRuns, failures, show });
    show({ job, text: "sending" });
    try {
      job = await ask("/api/portions", { method: "POST", body: portion, sessionKey });
      numRefused = 0;
    } catch (error) {
      // One in which the phone slept, or grew much slower at once, contradicts itself: it is measured again.
      if (!(error instanceof Refusal) || error.status === 401 || ++numRefused >= MAX_REFUSALS) throw error;
      job = await ask("/api/job", { sessionKey });
    }
  }
  return job;
}

// Blocks run in turn where the clock is exact. A whole network follows itself when it is used, so it is looped.
function isInTurn(chunk, runner) {
  return chunk.kind === "block" && runner.timesSingleRuns;
}

// Loads what is not loaded yet; gives the reasons of those that cannot be.
async function loadModels(work, { deaths, download, load, runner, numRuns, show }) {
  const failures = new Map();
  const needed = work.chunks.flatMap((chunk) => [...chunk.keys, ...(isInTurn(chunk, runner) ? chunk.companions : [])]);
  for (const [index, key] of needed.entries()) {
    if (numRuns.has(key) || failures.has(key)) continue;
    show({ text: `loading model ${index + 1} of ${needed.length}` });
    if (deaths.of(key) >= MAX_DEATHS) {
      failures.set(key, "the page died while it loaded this block");
      continue;
    }
    deaths.set(key, deaths.of(key) + 1); // in case it does: a large model may be too much before it is all here
    let model;
    try {
      model = await download(key);
    } catch (error) {
      deaths.forget(key); // what cannot be had now is no failure of the block
      throw error;
    }
    try {
      await load(key, model);
    } catch (error) {
      await startAfreshIfBroken(runner);
      failures.set(key, plainText(error.message));
    }
    deaths.forget(key);
  }
  return failures;
}

// A runtime that ran out of memory may fail everything from then on: then the page reloads, and the block has a death.
async function startAfreshIfBroken(runner) {
  try {
    await runner.run(SENTINEL, 1);
  } catch {
    location.reload();
    await new Promise(() => {}); // nothing more happens on this page
  }
}

// What to do about a block that was loaded and does not run: if the runtime is broken it is not tried again.
async function startAfreshWithout(key, { deaths, runner }) {
  deaths.set(key, MAX_DEATHS);
  await startAfreshIfBroken(runner);
  deaths.forget(key);
}

async function measurePortion(job, { deaths, runner, numRuns, failures, show }) {
  const { work, sentinel } = job;
  const beganMs = performance.now();
  const probes = [];
  const samples = [];
  const probe = async () => {
    const taken = [];
    for (let index = 0; index < sentinel.num_samples; index++) {
      taken.push(await runner.sample(SENTINEL, numRuns.get(SENTINEL)));
    }
    return {
      position: samples.length,
      raw_ms: taken.map(({ rawMs }) => rawMs),
      num_runs: numRuns.get(SENTINEL),
      at_ms: taken[0].startMs - beganMs,
    };
  };
  for (const chunk of work.chunks) {
    show({ job, numNew: samples.length, text: `round ${work.round_index + 1}` });
    const [before, taken] = await inView(async () => {
      const [keys, companions] = [chunk.keys, chunk.companions].map((all) => all.filter((key) => !failures.has(key)));
      return [
        await probe(),
        isInTurn(chunk, runner)
          ? await inTurn(keys, { companions, deaths, runner, failures, numPasses: job.num_passes })
          : await looped(keys, { deaths, runner, failures, numRuns }),
      ];
    });
    probes.push(before);
    for (const { key, rawMs, runs, startMs } of taken) {
      samples.push({ key, raw_ms: rawMs, num_runs: runs, at_ms: startMs - beganMs });
    }
  }
  probes.push(await inView(probe));
  const failed = work.chunks.flatMap(({ keys }) => keys).filter((key) => failures.has(key));
  return {
    schema_version: 1,
    upload_id: randomHex(16),
    plan_id: job.plan_id,
    group_index: work.group_index,
    round_index: work.round_index,
    portion_index: work.portion_index,
    probes,
    samples,
    failures: failed.map((key) => ({ key, reason: failures.get(key) })),
  };
}

// What `take` gives while the page is seen all the time: one that nobody sees is slowed down or stopped.
async function inView(take) {
  let taken;
  let wasHidden;
  const notice = () => (wasHidden = true);
  document.addEventListener("visibilitychange", notice);
  do {
    while (document.hidden) {
      await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
    }
    wasHidden = false;
    taken = await take();
  } while (wasHidden);
  document.removeEventListener("visibilitychange", notice);
  return taken;
}

// One run at a time, each right after another block's run: in a loop a block would find its weights in the innermost
// cache, where they never are inside a network. The first pass is not timed, and the companions never are.
async function inTurn(keys, { companions, deaths, runner, failures, numPasses }) {
  const taken = new Map(keys.map((key) => [key, { key, runsS: [] }]));
  const ring = new Set([...keys, ...companions]);
  for (let pass = 0; pass <= numPasses; pass++) {
    for (const key of ring) {
      try {
        const startMs = performance.now();
        const seconds = await runner.run(key, 1);
        const sample = taken.get(key);
        if (!sample || pass === 0) continue;
        sample.startMs ??= startMs;
        sample.runsS.push(seconds);
      } catch (error) {
        await startAfreshWithout(key, { deaths, runner });
        ring.delete(key);
        if (taken.delete(key)) failures.set(key, plainText(error.message)); // a companion may have had its sample
      }
    }
  }
  return [...taken.values()].map(({ key, runsS, startMs }) => ({
    key,
    startMs,
    rawMs: 1000 * meanWithoutStrays(runsS),
    runs: numPasses,
  }));
}

// The mean, because the median of runs that last a few steps of the clock is itself one of these steps, or half-way
// between two; without the runs that something else slowed.
function meanWithoutStrays(values) {
  const usual = values.filter((value) => value <= MAX_USUAL_RUN * median(values));
  return usual.reduce((sum, value) => sum + value, 0) / usual.length;
}

function median(values) {
  const sorted = [...values].sort((first, second) => first - second);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// In a loop that is long enough for a clock that the browser blurs.
async function looped(keys, { deaths, runner, failures, numRuns }) {
  const taken = [];
  for (const key of keys) {
    try {
      taken.push({ key, runs: numRuns.get(key), ...(await runner.sample(key, numRuns.get(key))) });
    } catch (error) {
      await startAfreshWithout(key, { deaths, runner });
      failures.set(key, plainText(error.message));
    }
  }
  return taken;
}

export function randomHex(numBytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(numBytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// 32 characters of the alphabet that the server reads, 192 random bits.
export function randomSecret() {
  const text = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))));
  return text.replaceAll("+", "-").replaceAll("/", "_");
}

function plainText(message) {
  return message.replace(/[^A-Za-z0-9 ._:,()[\]/'+-]+/g, " ").trim().slice(0, 128) || "unknown error";
}
