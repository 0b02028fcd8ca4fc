// Loads and times blocks in a worker of its own. Shared by the page of a phone and by the device `chromium`.

const MIN_WARM_UP_RUNS = 2;
const MIN_WARM_UP_S = 0.05;
const MIN_SAMPLE_MS = 1;
const MIN_COARSE_SAMPLE_MS = 5; // where the browser blurs the clock
const CLOCK_STEPS_PER_SAMPLE = 200; // so one step is half a percent
const EXACT_CLOCK_MS = 0.01; // Chrome's steps are 5 microseconds in an isolated page; Safari's and Firefox's are 20

export class Runner {
  static async open({ provider, threads }) {
    const runner = new Runner();
    try {
      const { clockMs, isIsolated } = await runner.#ask("open", { chosenProvider: provider, threads });
      const shortestMs = isIsolated ? MIN_SAMPLE_MS : MIN_COARSE_SAMPLE_MS;
      runner.timesSingleRuns = isIsolated && clockMs <= EXACT_CLOCK_MS; // or a run of 0.1 ms would be known to 10 %
      runner.minSampleS = Math.max(shortestMs, CLOCK_STEPS_PER_SAMPLE * clockMs) / 1000;
    } catch (error) {
      runner.close();
      throw error;
    }
    return runner;
  }

  #worker = new Worker(new URL("./runner_worker.js", import.meta.url), { type: "module" });
  #waiting = new Map(); // id -> {resolve, reject}
  #nextId = 0;

  constructor() {
    this.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("error" in data) reject(new Error(data.error));
      else resolve(data.result);
    };
    this.#worker.onerror = (event) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message || "the worker broke"));
      this.#waiting.clear();
    };
  }

  // model: an ArrayBuffer, which moves to the worker.
  load(slot, model) {
    return this.#ask("load", { slot, model }, [model]);
  }

  run(slot, numRuns) {
    return this.#ask("run", { slot, numRuns });
  }

  drop(slot) {
    return this.#ask("drop", { slot });
  }

  // Ends the worker, with all that it has loaded.
  close() {
    this.#worker.terminate();
  }

  // Runs until the block is warm; gives how many runs a sample needs for the clock.
  async warmUp(slot) {
    let numRuns = 1;
    let totalRuns = 1;
    let lastS = await this.run(slot, 1); // which may load kernels for longer than a warm-up takes
    let totalS = 0;
    while (totalRuns < MIN_WARM_UP_RUNS || totalS < MIN_WARM_UP_S) {
      numRuns = this.#runsPerSample(lastS / numRuns);
      lastS = await this.run(slot, numRuns);
      totalRuns += numRuns;
      totalS += lastS;
    }
    return this.#runsPerSample(lastS / numRuns);
  }

  // Milliseconds of one run, and when the timed loop began: after one run that is not timed.
  async sample(slot, numRuns) {
    await this.run(slot, 1);
    const startMs = performance.now();
    const seconds = await this.run(slot, numRuns);
    return { rawMs: (1000 * seconds) / numRuns, startMs };
  }

  #runsPerSample(runS) {
    // A coarse clock shows a short run as zero: then try ten times as long.
    const runs = runS > 0 ? this.minSampleS / runS : 10;
    return Math.min(Math.max(Math.ceil(runs), 1), 100000);
  }

  #ask(command, values, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, command, ...values }, transfer);
    });
  }
}
