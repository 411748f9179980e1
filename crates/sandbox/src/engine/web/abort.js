// `AbortController` and `AbortSignal`, as https://dom.spec.whatwg.org/#aborting-ongoing-activities has them.
(function (primordials, natives, part) {
  "use strict";

  const { DOMException, iterator, TypeError } = primordials;
  const { later } = natives;
  const { enforced, expose, iterate, list, required } = part("shared");
  const { EventTarget, fire, handlerOf, signals } = part("events");

  const SECRET = {};
  let stateOf, isSignal;

  class AbortSignal extends EventTarget {
    #state;
    #handler = null;

    static {
      stateOf = (signal) => signal.#state;
      isSignal = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(secret = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      super();
      this.#state = {
        __proto__: null, isAborted: false, reason: undefined, algorithms: list(), isDependent: false, sources: list(),
        dependents: list(),
      };
    }

    static abort(reason = undefined) {
      const signal = new AbortSignal(SECRET);
      const state = signal.#state;
      state.isAborted = true;
      state.reason = reason === undefined ? aborted() : reason;
      return signal;
    }

    static timeout(milliseconds) {
      required(arguments.length, 1, "AbortSignal.timeout");
      const delay = enforced(milliseconds, 9007199254740991, "the time of AbortSignal.timeout");
      const signal = new AbortSignal(SECRET);
      later(delay, () => abort(signal, new DOMException("The operation timed out", "TimeoutError")));
      return signal;
    }

    static any(signals) {
      required(arguments.length, 1, "AbortSignal.any");
      if ((typeof signals !== "object" && typeof signals !== "function") || signals === null) throw new TypeError(NOT_A_LIST);
      const given = list();
      for (const signal of iterate(signals, signals[iterator], NOT_A_LIST)) {
        if (!isSignal(signal)) throw new TypeError(NOT_A_LIST);
        given[given.length] = signal;
      }
      return anyOf(given);
    }

    get aborted() {
      return this.#state.isAborted;
    }

    get reason() {
      return this.#state.reason;
    }

    throwIfAborted() {
      if (this.#state.isAborted) throw this.#state.reason;
    }

    get onabort() {
      return this.#handler === null ? null : this.#handler.handler;
    }
    set onabort(value) {
      this.#handler = handlerOf(this, "abort", value, this.#handler);
    }
  }

  const NOT_A_LIST = "AbortSignal.any needs a sequence of signals";

  const aborted = () => new DOMException("This operation was aborted", "AbortError");

  function anyOf(given) {
    const result = new AbortSignal(SECRET);
    const state = stateOf(result);
    for (let index = 0; index < given.length; index++) {
      const source = stateOf(given[index]);
      if (!source.isAborted) continue;
      state.isAborted = true;
      state.reason = source.reason;
      return result;
    }
    state.isDependent = true;
    for (let index = 0; index < given.length; index++) {
      const source = stateOf(given[index]);
      if (!source.isDependent) depend(state, result, given[index]);
      else for (let inner = 0; inner < source.sources.length; inner++) depend(state, result, source.sources[inner]);
    }
    return result;
  }

  function depend(state, result, source) {
    const { dependents } = stateOf(source);
    for (let index = 0; index < state.sources.length; index++) {
      if (state.sources[index] === source) return;
    }
    state.sources[state.sources.length] = source;
    dependents[dependents.length] = result;
  }

  function abort(signal, reason) {
    const state = stateOf(signal);
    if (state.isAborted) return;
    state.isAborted = true;
    state.reason = reason === undefined ? aborted() : reason;
    const toAbort = list();
    toAbort[0] = signal;
    for (let index = 0; index < state.dependents.length; index++) {
      const dependent = stateOf(state.dependents[index]);
      if (dependent.isAborted) continue;
      dependent.isAborted = true;
      dependent.reason = state.reason;
      toAbort[toAbort.length] = state.dependents[index];
    }
    state.dependents = list();
    for (let index = 0; index < toAbort.length; index++) runAbortSteps(toAbort[index]);
  }

  function runAbortSteps(signal) {
    const state = stateOf(signal);
    const { algorithms } = state;
    state.algorithms = list();
    for (let index = 0; index < algorithms.length; index++) {
      const { algorithm } = algorithms[index];
      if (algorithm !== undefined) algorithm();
    }
    fire(signal, "abort");
  }

  class AbortController {
    #signal = new AbortSignal(SECRET);

    get signal() {
      return this.#signal;
    }

    abort(reason = undefined) {
      abort(this.#signal, reason);
    }
  }

  // Runs `algorithm` when `signal` aborts. Returns a function that prevents it.
  function whenAborted(signal, algorithm) {
    const state = stateOf(signal);
    const entry = { __proto__: null, algorithm };
    state.algorithms[state.algorithms.length] = entry;
    return () => {
      entry.algorithm = undefined;
      let length = 0;
      for (let index = 0; index < state.algorithms.length; index++) {
        if (state.algorithms[index] !== entry) state.algorithms[length++] = state.algorithms[index];
      }
      state.algorithms.length = length;
    };
  }

  signals.isSignal = isSignal;
  signals.isAborted = (signal) => stateOf(signal).isAborted;
  signals.whenAborted = whenAborted;
  expose(AbortSignal, "AbortSignal");
  expose(AbortController, "AbortController");

  return {
    __proto__: null, AbortController, AbortSignal, abort, anyOf, isSignal, newSignal: () => new AbortSignal(SECRET), stateOf,
    whenAborted,
  };
})
