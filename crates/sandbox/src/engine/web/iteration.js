// Iteration of ReadableStream: `for await` over a stream, and `ReadableStream.from`.
(function (primordials, natives, part) {
  "use strict";

  const { asyncIterator, asyncIteratorPrototype, apply, iterator, setPrototypeOf, TypeError } = primordials;
  const { expose } = part("shared");
  const { deferred, noop, promiseCall, rejectedWith, resolvedWith, then } = part("queues");
  const {
    acquireReader, cancel, controllerClose, controllerEnqueue, controllerStateOf, create, read, releaseReader,
  } = part("readable");

  const END = { __proto__: null };
  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";
  const notOf = (what) => rejectedWith(new TypeError("this is no " + what));

  function fromIterable(iterable) {
    const record = iteratorOf(iterable);
    return create({
      __proto__: null,
      start: noop,
      pull(controller) {
        const next = promiseCall(record.next, record.iterator, []);
        return then(record.isAsync ? next : record.settle(next), (result) => {
          if (!isObject(result)) throw new TypeError("the result of an iterator must be an object");
          if (result.done) controllerClose(controllerStateOf(controller));
          else controllerEnqueue(controllerStateOf(controller), result.value);
        });
      },
      cancel(reason) {
        let act;
        try {
          act = record.iterator.return;
        } catch (error) {
          return rejectedWith(error);
        }
        if (act === undefined || act === null) return resolvedWith(undefined);
        if (typeof act !== "function") return rejectedWith(new TypeError("return must be a function"));
        const result = promiseCall(act, record.iterator, [reason]);
        return then(record.isAsync ? result : record.settle(result), (result) => {
          if (!isObject(result)) throw new TypeError("the result of an iterator must be an object");
        });
      },
    }, 0, () => 1);
  }

  function iteratorOf(iterable) {
    if (iterable === undefined || iterable === null) throw new TypeError("the values are not iterable");
    let method = iterable[asyncIterator];
    const isAsync = method !== undefined && method !== null;
    if (!isAsync) method = iterable[iterator];
    if (typeof method !== "function") throw new TypeError("the values are not iterable");
    const made = apply(method, iterable, []);
    if (!isObject(made)) throw new TypeError("an iterator must be an object");
    // A result of an iterator that is not asynchronous may have a promise as its value.
    const settle = (promise) => then(promise, (result) => {
      if (!isObject(result)) throw new TypeError("the result of an iterator must be an object");
      const { done, value } = result;
      return then(resolvedWith(value), (value) => ({ __proto__: null, done, value }));
    });
    return { __proto__: null, iterator: made, next: made.next, isAsync, settle };
  }

  class StreamIterator {
    #reader;
    #preventCancel;
    #ongoing = null;
    #isFinished = false;

    constructor(reader, preventCancel) {
      this.#reader = reader;
      this.#preventCancel = preventCancel;
    }

    next() {
      if (!(isObject(this) && #reader in this)) return notOf("ReadableStream AsyncIterator");
      const steps = () => this.#next();
      this.#ongoing = this.#ongoing === null ? steps() : then(this.#ongoing, steps, steps);
      return this.#ongoing;
    }

    return(value) {
      if (!(isObject(this) && #reader in this)) return notOf("ReadableStream AsyncIterator");
      const steps = () => this.#return(value);
      this.#ongoing = this.#ongoing === null ? steps() : then(this.#ongoing, steps, steps);
      return then(this.#ongoing, () => ({ value, done: true }));
    }

    #next() {
      if (this.#isFinished) return resolvedWith({ value: undefined, done: true });
      const reader = this.#reader;
      const { promise, resolve, reject } = deferred();
      read(reader, {
        __proto__: null,
        chunk: resolve,
        close() {
          releaseReader(reader);
          resolve(END);
        },
        error(reason) {
          releaseReader(reader);
          reject(reason);
        },
      });
      return then(promise, (value) => {
        if (value !== END) return { value, done: false };
        this.#isFinished = true;
        return { value: undefined, done: true };
      }, (reason) => {
        this.#isFinished = true;
        throw reason;
      });
    }

    #return(value) {
      if (this.#isFinished) return resolvedWith(undefined);
      this.#isFinished = true;
      const reader = this.#reader;
      if (reader.stream === undefined) return resolvedWith(undefined);
      const result = this.#preventCancel ? resolvedWith(undefined) : cancel(reader.stream, value);
      releaseReader(reader);
      return result;
    }
  }

  setPrototypeOf(StreamIterator.prototype, asyncIteratorPrototype);
  delete StreamIterator.prototype.constructor;
  expose(StreamIterator, "ReadableStream AsyncIterator");
  const values = (stream, preventCancel) => new StreamIterator(acquireReader(stream), preventCancel);

  return { __proto__: null, fromIterable, values };
})
