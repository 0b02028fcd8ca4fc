// Runs ONNX models with ONNX Runtime Web and times them. A worker, so that drawing a page disturbs no timing.
//
// It answers {id, command, ...} with {id, result} or {id, error}. It knows nothing of jobs and servers.

const MAX_START_MS = 120000; // a runtime whose threads cannot start would otherwise be waited for without end
const IDENTITY = "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0="; // ONNX: y = x
const RUNTIMES = { wasm: "./runtime/ort.wasm.min.mjs", webgpu: "./runtime/ort.webgpu.min.mjs" };

let ort;
let provider;
const sessions = new Map(); // slot -> {session, feeds}

const commands = {
  async open({ chosenProvider, threads }) {
    provider = chosenProvider;
    if (provider === "webgpu") await checkGraphics();
    ort = await import(RUNTIMES[provider]);
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.initTimeout = MAX_START_MS;
    ort.env.logLevel = "error";
    const identity = Uint8Array.from(atob(IDENTITY), (character) => character.charCodeAt(0));
    const session = await ort.InferenceSession.create(identity, { executionProviders: [provider] }); // starts it
    await session.release();
    return { clockMs: clockResolutionMs(), isIsolated: self.crossOriginIsolated };
  },

  async load({ slot, model }) {
    const session = await ort.InferenceSession.create(new Uint8Array(model), {
      executionProviders: [provider],
      // Idle threads that spin would steal the cores from the next block.
      extra: { session: { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } } },
    });
    const feeds = {};
    for (const input of session.inputMetadata) {
      feeds[input.name] = new ort.Tensor("float32", normalNumbers(input.shape), input.shape);
    }
    sessions.set(slot, { session, feeds });
  },

  // Seconds that `numRuns` runs took, one after another.
  async run({ slot, numRuns }) {
    const { session, feeds } = sessions.get(slot);
    const startMs = performance.now();
    for (let index = 0; index < numRuns; index++) {
      const outputs = await session.run(feeds);
      for (const output of Object.values(outputs)) output.dispose();
    }
    return (performance.now() - startMs) / 1000;
  },

  async drop({ slot }) {
    await sessions.get(slot).session.release();
    sessions.delete(slot);
  },
};

self.onmessage = async ({ data }) => {
  const { id, command, ...values } = data;
  try {
    self.postMessage({ id, result: await commands[command](values) });
  } catch (error) {
    // WebAssembly reports a C++ exception as a bare number.
    self.postMessage({ id, error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) });
  }
};

// A browser without a graphics processor may offer WebGPU all the same, computed on the processor.
async function checkGraphics() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser has no WebGPU");
  if (adapter.info?.isFallbackAdapter || adapter.info?.architecture === "swiftshader") {
    throw new Error("WebGPU is emulated on the processor here, and so says nothing");
  }
}

// The smallest step of the clock, which browsers make coarse unless a page is isolated.
function clockResolutionMs() {
  const steps = [];
  for (let index = 0; index < 20; index++) {
    const before = performance.now();
    let after = before;
    while (after === before) after = performance.now();
    steps.push(after - before);
  }
  return Math.min(...steps);
}

// Roughly normal numbers, as a block sees them in a network: zeros and denormals would be faster or slower.
function normalNumbers(shape) {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  for (let index = 0; index < values.length; index++) {
    values[index] = Math.random() + Math.random() + Math.random() + Math.random() - 2;
  }
  return values;
}
