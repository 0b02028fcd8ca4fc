// How often the page died of each block of a plan: kept where the next page finds it.

const STORED = "snapnas-deaths"; // {planId, numDeaths: [[key, number], ...]}

export class Deaths {
  #planId;
  #numDeaths;

  // Of another plan nothing is kept: the block may be asked for again, and has to be tried.
  constructor(planId) {
    const stored = JSON.parse(localStorage.getItem(STORED));
    this.#planId = planId;
    this.#numDeaths = new Map(stored?.planId === planId ? stored.numDeaths : []);
  }

  of(key) {
    return this.#numDeaths.get(key) ?? 0;
  }

  set(key, numDeaths) {
    this.#numDeaths.set(key, numDeaths);
    this.#store();
  }

  forget(key) {
    this.#numDeaths.delete(key);
    this.#store();
  }

  #store() {
    localStorage.setItem(STORED, JSON.stringify({ planId: this.#planId, numDeaths: [...this.#numDeaths] }));
  }
}
