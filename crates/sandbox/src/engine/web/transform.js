// `TransformStream`, as https://streams.spec.whatwg.org/#ts has it, with `TextEncoderStream` and `TextDecoderStream`.
(function (primordials, natives, part) {
  "use strict";

  const { apply, RangeError, TypeError } = primordials;
  const { expose, platformObject } = part("shared");
  const {
    deferred, handled, markOf, method, promiseCall, rejectedWith, resolvedWith, sizeOfStrategy, strategyOf, then,
  } = part("queues");
  const readable = part("readable");
  const writable = part("writable");

  const SECRET = {};
  let stateOf, isTransform, controllerStateOf, isController;

  class TransformStream {
    #state;

    static {
      stateOf = (stream) => stream.#state;
      isTransform = (object) => #state in object;
    }

    constructor(transformer = undefined, writableStrategy = undefined, readableStrategy = undefined) {
      const given = writable.objectOr(transformer, "the transformer of a TransformStream");
      const write = strategyOf(writableStrategy);
      const read = strategyOf(readableStrategy);
      const acts = { __proto__: null };
      if (given !== null) {
        acts.cancel = method(given, "cancel");
        acts.flush = method(given, "flush");
        const { readableType } = given;
        acts.start = method(given, "start");
        acts.transform = method(given, "transform");
        const { writableType } = given;
        if (readableType !== undefined) throw new RangeError("a TransformStream has no readableType");
        if (writableType !== undefined) throw new RangeError("a TransformStream has no writableType");
      }
      const readMark = markOf(read, 0);
      const readSize = sizeOfStrategy(read);
      const started = deferred();
      this.#state = setUp(started.promise, {
        __proto__: null,
        transform: (chunk, controller) => {
          if (acts.transform !== undefined) return promiseCall(acts.transform, given, [chunk, controller.object]);
          try {
            enqueue(controller, chunk);
            return resolvedWith(undefined);
          } catch (error) {
            return rejectedWith(error);
          }
        },
        flush: (controller) =>
          acts.flush === undefined ? resolvedWith(undefined) : promiseCall(acts.flush, given, [controller.object]),
        cancel: (reason) => acts.cancel === undefined ? resolvedWith(undefined) : promiseCall(acts.cancel, given, [reason]),
      }, markOf(write, 1), sizeOfStrategy(write), readMark, readSize);
      const controller = this.#state.controller.object;
      started.resolve(acts.start === undefined ? undefined : apply(acts.start, given, [controller]));
    }

    get readable() {
      return this.#state.readable.object;
    }

    get writable() {
      return this.#state.writable.object;
    }
  }

  // Makes the two sides. `algorithms` gets the state of the controller.
  function setUp(started, algorithms, writeMark, writeSize, readMark, readSize) {
    const stream = {
      __proto__: null, readable: undefined, writable: undefined, controller: undefined, backpressure: undefined,
      backpressureChange: undefined,
    };
    const controller = {
      __proto__: null, stream, object: undefined, finished: undefined, transform: algorithms.transform,
      flush: algorithms.flush, cancel: algorithms.cancel,
    };
    controller.object = new TransformStreamDefaultController(SECRET, controller);
    stream.controller = controller;
    stream.writable = writable.create({
      __proto__: null,
      start: () => started,
      write: (chunk) => sinkWrite(stream, chunk),
      close: () => sinkClose(stream),
      abort: (reason) => sinkAbort(stream, reason),
    }, writeMark, writeSize);
    stream.readable = readable.create({
      __proto__: null,
      start: () => started,
      pull: () => sourcePull(stream),
      cancel: (reason) => sourceCancel(stream, reason),
    }, readMark, readSize);
    setBackpressure(stream, true);
    return stream;
  }

  function setBackpressure(stream, backpressure) {
    if (stream.backpressureChange !== undefined) stream.backpressureChange.resolve();
    stream.backpressureChange = deferred();
    stream.backpressure = backpressure;
  }

  function error(stream, reason) {
    readable.controllerError(stream.readable.controller, reason);
    errorWritableAndUnblock(stream, reason);
  }

  function errorWritableAndUnblock(stream, reason) {
    clearAlgorithms(stream.controller);
    writable.errorIfNeeded(stream.writable.controller, reason);
    if (stream.backpressure) setBackpressure(stream, false);
  }

  function clearAlgorithms(controller) {
    controller.transform = controller.flush = controller.cancel = undefined;
  }

  function performTransform(controller, chunk) {
    return then(controller.transform(chunk, controller), undefined, (reason) => {
      error(controller.stream, reason);
      throw reason;
    });
  }

  function sinkWrite(stream, chunk) {
    if (!stream.backpressure) return performTransform(stream.controller, chunk);
    return then(stream.backpressureChange.promise, () => {
      if (stream.writable.state === "erroring") throw stream.writable.storedError;
      return performTransform(stream.controller, chunk);
    });
  }

  function sinkAbort(stream, reason) {
    const { controller } = stream;
    if (controller.finished !== undefined) return controller.finished.promise;
    controller.finished = deferred();
    handled(controller.finished.promise);
    const canceled = controller.cancel(reason);
    clearAlgorithms(controller);
    then(canceled, () => {
      if (stream.readable.state === "errored") {
        controller.finished.reject(stream.readable.storedError);
      } else {
        readable.controllerError(stream.readable.controller, reason);
        controller.finished.resolve();
      }
    }, (thrown) => {
      readable.controllerError(stream.readable.controller, thrown);
      controller.finished.reject(thrown);
    });
    return controller.finished.promise;
  }

  function sinkClose(stream) {
    const { controller } = stream;
    if (controller.finished !== undefined) return controller.finished.promise;
    controller.finished = deferred();
    handled(controller.finished.promise);
    const flushed = controller.flush(controller);
    clearAlgorithms(controller);
    then(flushed, () => {
      if (stream.readable.state === "errored") {
        controller.finished.reject(stream.readable.storedError);
      } else {
        readable.controllerClose(stream.readable.controller);
        controller.finished.resolve();
      }
    }, (thrown) => {
      readable.controllerError(stream.readable.controller, thrown);
      controller.finished.reject(thrown);
    });
    return controller.finished.promise;
  }

  function sourceCancel(stream, reason) {
    const { controller } = stream;
    if (controller.finished !== undefined) return controller.finished.promise;
    controller.finished = deferred();
    handled(controller.finished.promise);
    const canceled = controller.cancel(reason);
    clearAlgorithms(controller);
    then(canceled, () => {
      if (stream.writable.state === "errored") {
        controller.finished.reject(stream.writable.storedError);
      } else {
        writable.errorIfNeeded(stream.writable.controller, reason);
        if (stream.backpressure) setBackpressure(stream, false);
        controller.finished.resolve();
      }
    }, (thrown) => {
      writable.errorIfNeeded(stream.writable.controller, thrown);
      if (stream.backpressure) setBackpressure(stream, false);
      controller.finished.reject(thrown);
    });
    return controller.finished.promise;
  }

  function sourcePull(stream) {
    setBackpressure(stream, false);
    return stream.backpressureChange.promise;
  }

  class TransformStreamDefaultController {
    #state;

    static {
      controllerStateOf = (controller) => controller.#state;
      isController = (object) => #state in object;
    }

    constructor(secret = undefined, state = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.#state = state;
    }

    get desiredSize() {
      return readable.desiredSize(this.#state.stream.readable.controller);
    }

    enqueue(chunk = undefined) {
      enqueue(this.#state, chunk);
    }

    error(reason = undefined) {
      error(this.#state.stream, reason);
    }

    terminate() {
      terminate(this.#state);
    }
  }

  function enqueue({ stream }, chunk) {
    const { controller } = stream.readable;
    if (!readable.canCloseOrEnqueue(controller)) throw new TypeError("the stream takes no chunk");
    try {
      readable.controllerEnqueue(controller, chunk);
    } catch (thrown) {
      errorWritableAndUnblock(stream, thrown);
      throw stream.readable.storedError;
    }
    const backpressure = !readable.shouldPull(controller);
    if (backpressure !== stream.backpressure) setBackpressure(stream, true);
  }

  function terminate({ stream }) {
    readable.controllerClose(stream.readable.controller);
    errorWritableAndUnblock(stream, new TypeError("the stream is terminated"));
  }

  // Makes a transform stream of the platform's own. `flush` and `transform` get a function that enqueues.
  function createTransform(transform, flush) {
    const call = (act, args) => {
      try {
        return resolvedWith(apply(act, undefined, args));
      } catch (thrown) {
        return rejectedWith(thrown);
      }
    };
    return setUp(resolvedWith(undefined), {
      __proto__: null,
      transform: (chunk, controller) => call(transform, [chunk, (made) => enqueue(controller, made)]),
      flush: (controller) => call(flush, [(made) => enqueue(controller, made)]),
      cancel: () => resolvedWith(undefined),
    }, 1, () => 1, 0, () => 1);
  }

  expose(TransformStream, "TransformStream");
  expose(TransformStreamDefaultController, "TransformStreamDefaultController");
  platformObject({ name: "TransformStream", is: isTransform });
  platformObject({ name: "TransformStreamDefaultController", is: isController });

  return { __proto__: null, TransformStream, TransformStreamDefaultController, createTransform };
})
