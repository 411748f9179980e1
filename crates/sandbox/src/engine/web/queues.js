// What the streams share: promises, queues with sizes, and queuing strategies, as https://streams.spec.whatwg.org/ has
// them.
(function (primordials, natives, part) {
  "use strict";

  const { apply, defineProperty, getOwnPropertyDescriptor, Promise, promiseThen, RangeError, TypeError } = primordials;
  const { dictionary, expose, list, platformObject, required } = part("shared");

  const noop = () => {};

  // Returns a promise with its two functions.
  function deferred() {
    const made = { __proto__: null, promise: undefined, resolve: undefined, reject: undefined };
    made.promise = new Promise((resolve, reject) => {
      made.resolve = resolve;
      made.reject = reject;
    });
    return made;
  }

  const resolvedWith = (value) => new Promise((resolve) => resolve(value));
  const rejectedWith = (reason) => new Promise((_, reject) => reject(reason));
  const noConstructor = { __proto__: null, value: undefined, writable: true, enumerable: false, configurable: true };

  // Calls the original `then`. It asks a promise for its constructor, and guest code may have changed the answer: so the
  // promise has none meanwhile.
  function then(promise, fulfilled, rejected) {
    if (getOwnPropertyDescriptor(promise, "constructor") !== undefined) {
      return apply(promiseThen, promise, [fulfilled, rejected]);
    }
    defineProperty(promise, "constructor", noConstructor);
    const made = apply(promiseThen, promise, [fulfilled, rejected]);
    delete promise.constructor;
    return made;
  }

  // A rejection of `promise` is no error that nobody handles.
  const handled = (promise) => {
    then(promise, undefined, noop);
    return promise;
  };
  // A deferred promise that is settled from the start.
  const settled = (promise) => ({ __proto__: null, promise, resolve: noop, reject: noop });

  // Calls a function of a script that returns a promise, as WebIDL does: an exception rejects the promise.
  function promiseCall(act, thisArgument, args) {
    try {
      return resolvedWith(apply(act, thisArgument, args));
    } catch (error) {
      return rejectedWith(error);
    }
  }

  // Returns the function of a dictionary, or undefined. Throws for anything else.
  function method(object, name) {
    const value = object[name];
    if (value === undefined) return undefined;
    if (typeof value !== "function") throw new TypeError(name + " must be a function");
    return value;
  }

  // A queue that takes from its front in constant time on average.
  const newQueue = () => ({ __proto__: null, items: list(), first: 0, total: 0 });
  const isEmpty = (queue) => queue.first === queue.items.length;
  const peek = (queue) => queue.items[queue.first];

  function push(queue, item) {
    queue.items[queue.items.length] = item;
  }

  function shift(queue) {
    const item = queue.items[queue.first];
    queue.items[queue.first++] = undefined;
    if (queue.first * 2 > queue.items.length) {
      const rest = list();
      for (let index = queue.first; index < queue.items.length; index++) rest[rest.length] = queue.items[index];
      queue.items = rest;
      queue.first = 0;
    }
    return item;
  }

  function enqueueWithSize(queue, value, size) {
    size = +size;
    if (!(size >= 0) || size === Infinity) throw new RangeError("the size of a chunk must be a finite number from 0 on");
    push(queue, { __proto__: null, value, size });
    queue.total += size;
  }

  function dequeue(queue) {
    const pair = shift(queue);
    queue.total -= pair.size;
    if (queue.total < 0) queue.total = 0;
    return pair.value;
  }

  function reset(queue) {
    queue.items = list();
    queue.first = 0;
    queue.total = 0;
  }

  // Reads a strategy: its members in the order of WebIDL.
  function strategyOf(value) {
    const strategy = dictionary(value, "a queuing strategy");
    const read = { __proto__: null, highWaterMark: undefined, size: undefined };
    if (strategy === null) return read;
    const mark = strategy.highWaterMark;
    if (mark !== undefined) read.highWaterMark = +mark;
    read.size = method(strategy, "size");
    return read;
  }

  function markOf(strategy, otherwise) {
    const mark = strategy.highWaterMark;
    if (mark === undefined) return otherwise;
    if (!(mark >= 0)) throw new RangeError("highWaterMark must be a number from 0 on");
    return mark;
  }

  const sizeOfStrategy = ({ size }) => size === undefined ? () => 1 : (chunk) => apply(size, undefined, [chunk]);

  function highWaterMarkIn(init, what) {
    required(init.length, 1, what);
    const given = dictionary(init[0], "the argument of " + what);
    const mark = given === null ? undefined : given.highWaterMark;
    if (mark === undefined) throw new TypeError(what + " needs a highWaterMark");
    return +mark;
  }

  // The functions behind `size`: each is one for all strategies, and no constructor.
  const sizes = {
    __proto__: null,
    count: { size() { return 1; } }.size,
    bytes: { size(chunk) { return chunk.byteLength; } }.size,
  };

  let isCount, isBytes;

  class CountQueuingStrategy {
    #highWaterMark;

    static {
      isCount = (object) => #highWaterMark in object;
    }

    constructor(init) {
      this.#highWaterMark = highWaterMarkIn(arguments, "CountQueuingStrategy");
    }

    get highWaterMark() {
      return this.#highWaterMark;
    }

    get size() {
      this.#highWaterMark;
      return sizes.count;
    }
  }

  class ByteLengthQueuingStrategy {
    #highWaterMark;

    static {
      isBytes = (object) => #highWaterMark in object;
    }

    constructor(init) {
      this.#highWaterMark = highWaterMarkIn(arguments, "ByteLengthQueuingStrategy");
    }

    get highWaterMark() {
      return this.#highWaterMark;
    }

    get size() {
      this.#highWaterMark;
      return sizes.bytes;
    }
  }

  expose(CountQueuingStrategy, "CountQueuingStrategy");
  expose(ByteLengthQueuingStrategy, "ByteLengthQueuingStrategy");
  platformObject({ name: "CountQueuingStrategy", is: isCount });
  platformObject({ name: "ByteLengthQueuingStrategy", is: isBytes });

  return {
    __proto__: null, CountQueuingStrategy, ByteLengthQueuingStrategy, deferred, dequeue, enqueueWithSize, handled, isEmpty,
    markOf, method, newQueue, noop, peek, promiseCall, push, rejectedWith, reset, resolvedWith, settled, shift,
    sizeOfStrategy, strategyOf, then,
  };
})
