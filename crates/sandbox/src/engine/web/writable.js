// `WritableStream` and its kin, as https://streams.spec.whatwg.org/#ws has them. The functions have the names of the
// standard's abstract operations without their prefixes.
(function (primordials, natives, part) {
  "use strict";

  const { apply, RangeError, TypeError } = primordials;
  const { expose, platformObject } = part("shared");
  const {
    deferred, dequeue, enqueueWithSize, handled, isEmpty, markOf, method, newQueue, peek, promiseCall, push, rejectedWith,
    reset, resolvedWith, settled, shift, sizeOfStrategy, strategyOf, then,
  } = part("queues");
  const { newSignal, abort: abortSignal } = part("abort");

  const SECRET = {};
  // The end of the queue of a stream that is being closed.
  const CLOSE = { __proto__: null };

  let stateOf, isStream, isController;
  const notOf = (what) => rejectedWith(new TypeError("this is no " + what));

  class WritableStream {
    #state;

    static {
      stateOf = (stream) => stream.#state;
      isStream = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(underlyingSink = undefined, strategy = undefined) {
      this.#state = newStream(this);
      // Made by `create`, which sets it up.
      if (underlyingSink === SECRET) return;
      const given = objectOr(underlyingSink, "the sink of a WritableStream");
      const read = strategyOf(strategy);
      const sink = { __proto__: null };
      if (given !== null) {
        sink.abort = method(given, "abort");
        sink.close = method(given, "close");
        sink.start = method(given, "start");
        const { type } = given;
        sink.write = method(given, "write");
        if (type !== undefined) throw new RangeError("a WritableStream has no type");
      }
      const call = (act, args) => act === undefined ? resolvedWith(undefined) : promiseCall(act, given, args);
      setUpController(this.#state, {
        __proto__: null,
        start: (controller) => sink.start === undefined ? undefined : apply(sink.start, given, [controller]),
        write: (chunk, controller) => call(sink.write, [chunk, controller]),
        close: () => call(sink.close, []),
        abort: (reason) => call(sink.abort, [reason]),
      }, markOf(read, 1), sizeOfStrategy(read));
    }

    get locked() {
      return this.#state.writer !== undefined;
    }

    abort(reason = undefined) {
      if (!isStream(this)) return notOf("WritableStream");
      if (this.#state.writer !== undefined) return rejectedWith(new TypeError("the stream is locked"));
      return abort(this.#state, reason);
    }

    close() {
      if (!isStream(this)) return notOf("WritableStream");
      if (this.#state.writer !== undefined) return rejectedWith(new TypeError("the stream is locked"));
      if (closeQueuedOrInFlight(this.#state)) return rejectedWith(new TypeError("the stream is being closed"));
      return close(this.#state);
    }

    getWriter() {
      return new (part("writer").WritableStreamDefaultWriter)(stateOf(this).object);
    }
  }

  // Returns an optional object argument, or null if there is none.
  function objectOr(value, what) {
    if (value === undefined) return null;
    if ((typeof value === "object" && value !== null) || typeof value === "function") return value;
    throw new TypeError(what + " must be an object");
  }

  const newStream = (object) => ({
    __proto__: null, object, state: "writable", storedError: undefined, writer: undefined, controller: undefined,
    inFlightWrite: undefined, closeRequest: undefined, inFlightClose: undefined, pendingAbort: undefined,
    writeRequests: newQueue(), backpressure: false,
  });

  // Makes a stream of the platform's own.
  function create(algorithms, mark, size) {
    const state = stateOf(new WritableStream(SECRET));
    setUpController(state, algorithms, mark, size);
    return state;
  }

  const closeQueuedOrInFlight = (stream) => stream.closeRequest !== undefined || stream.inFlightClose !== undefined;
  const isOver = (stream) => stream.state === "closed" || stream.state === "errored";

  function abort(stream, reason) {
    if (isOver(stream)) return resolvedWith(undefined);
    abortSignal(stream.controller.signal, reason);
    if (isOver(stream)) return resolvedWith(undefined);
    if (stream.pendingAbort !== undefined) return stream.pendingAbort.request.promise;
    const wasErroring = stream.state === "erroring";
    const request = deferred();
    stream.pendingAbort = { __proto__: null, request, reason: wasErroring ? undefined : reason, wasErroring };
    if (!wasErroring) startErroring(stream, reason);
    return request.promise;
  }

  function close(stream) {
    if (isOver(stream)) return rejectedWith(new TypeError("the stream is " + stream.state));
    const request = deferred();
    stream.closeRequest = request;
    if (stream.writer !== undefined && stream.backpressure && stream.state === "writable") stream.writer.ready.resolve();
    enqueueWithSize(stream.controller.queue, CLOSE, 0);
    advanceQueue(stream.controller);
    return request.promise;
  }

  function startErroring(stream, reason) {
    stream.state = "erroring";
    stream.storedError = reason;
    if (stream.writer !== undefined) ensureReadyRejected(stream.writer, reason);
    const isInFlight = stream.inFlightWrite !== undefined || stream.inFlightClose !== undefined;
    if (!isInFlight && stream.controller.isStarted) finishErroring(stream);
  }

  function dealWithRejection(stream, error) {
    if (stream.state === "writable") startErroring(stream, error);
    else finishErroring(stream);
  }

  function finishErroring(stream) {
    stream.state = "errored";
    reset(stream.controller.queue);
    while (!isEmpty(stream.writeRequests)) shift(stream.writeRequests).reject(stream.storedError);
    const { pendingAbort } = stream;
    stream.pendingAbort = undefined;
    if (pendingAbort === undefined) return rejectCloseAndClosed(stream);
    if (pendingAbort.wasErroring) {
      pendingAbort.request.reject(stream.storedError);
      return rejectCloseAndClosed(stream);
    }
    const aborted = stream.controller.abort(pendingAbort.reason);
    clearAlgorithms(stream.controller);
    then(aborted, () => {
      pendingAbort.request.resolve();
      rejectCloseAndClosed(stream);
    }, (error) => {
      pendingAbort.request.reject(error);
      rejectCloseAndClosed(stream);
    });
  }

  function rejectCloseAndClosed(stream) {
    if (stream.closeRequest !== undefined) {
      stream.closeRequest.reject(stream.storedError);
      stream.closeRequest = undefined;
    }
    if (stream.writer === undefined) return;
    stream.writer.closed.reject(stream.storedError);
    handled(stream.writer.closed.promise);
  }

  function finishInFlightClose(stream) {
    stream.inFlightClose.resolve();
    stream.inFlightClose = undefined;
    if (stream.state === "erroring") {
      stream.storedError = undefined;
      if (stream.pendingAbort !== undefined) {
        stream.pendingAbort.request.resolve();
        stream.pendingAbort = undefined;
      }
    }
    stream.state = "closed";
    if (stream.writer !== undefined) stream.writer.closed.resolve();
  }

  function finishInFlightCloseWithError(stream, error) {
    stream.inFlightClose.reject(error);
    stream.inFlightClose = undefined;
    if (stream.pendingAbort !== undefined) {
      stream.pendingAbort.request.reject(error);
      stream.pendingAbort = undefined;
    }
    dealWithRejection(stream, error);
  }

  function updateBackpressure(stream, backpressure) {
    const { writer } = stream;
    if (writer !== undefined && backpressure !== stream.backpressure) {
      if (backpressure) writer.ready = pending();
      else writer.ready.resolve();
    }
    stream.backpressure = backpressure;
  }

  // A deferred promise that tells whether it is settled.
  function pending() {
    const made = deferred();
    const { resolve, reject } = made;
    made.isPending = true;
    made.resolve = (value) => {
      made.isPending = false;
      resolve(value);
    };
    made.reject = (reason) => {
      made.isPending = false;
      reject(reason);
    };
    return made;
  }

  function ensureReadyRejected(writer, error) {
    if (writer.ready.isPending) writer.ready.reject(error);
    else writer.ready = settled(rejectedWith(error));
    handled(writer.ready.promise);
  }

  function desiredSize(stream) {
    if (stream.state === "errored" || stream.state === "erroring") return null;
    return stream.state === "closed" ? 0 : stream.controller.mark - stream.controller.queue.total;
  }

  class WritableStreamDefaultController {
    #state;

    static {
      isController = (object) => #state in object;
    }

    constructor(secret = undefined, state = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.#state = state;
    }

    get signal() {
      return this.#state.signal;
    }

    error(reason = undefined) {
      if (this.#state.stream.state === "writable") errorController(this.#state, reason);
    }
  }

  function setUpController(stream, algorithms, mark, size) {
    const controller = {
      __proto__: null, stream, queue: newQueue(), signal: newSignal(), isStarted: false, mark, size,
      write: algorithms.write, close: algorithms.close, abort: algorithms.abort, object: undefined,
    };
    controller.object = new WritableStreamDefaultController(SECRET, controller);
    stream.controller = controller;
    updateBackpressure(stream, mark <= 0);
    then(resolvedWith(algorithms.start(controller.object)), () => {
      controller.isStarted = true;
      advanceQueue(controller);
    }, (error) => {
      controller.isStarted = true;
      dealWithRejection(stream, error);
    });
  }

  function clearAlgorithms(controller) {
    controller.write = controller.close = controller.abort = controller.size = undefined;
  }

  function errorController(controller, error) {
    clearAlgorithms(controller);
    startErroring(controller.stream, error);
  }

  function advanceQueue(controller) {
    const { stream, queue } = controller;
    if (!controller.isStarted || stream.inFlightWrite !== undefined) return;
    if (stream.state === "erroring") return finishErroring(stream);
    if (isEmpty(queue)) return;
    const { value } = peek(queue);
    if (value === CLOSE) processClose(controller);
    else processWrite(controller, value);
  }

  function processClose(controller) {
    const { stream } = controller;
    stream.inFlightClose = stream.closeRequest;
    stream.closeRequest = undefined;
    dequeue(controller.queue);
    const closing = controller.close();
    clearAlgorithms(controller);
    then(closing, () => finishInFlightClose(stream), (error) => finishInFlightCloseWithError(stream, error));
  }

  function processWrite(controller, chunk) {
    const { stream } = controller;
    stream.inFlightWrite = shift(stream.writeRequests);
    then(controller.write(chunk, controller.object), () => {
      stream.inFlightWrite.resolve();
      stream.inFlightWrite = undefined;
      dequeue(controller.queue);
      if (!closeQueuedOrInFlight(stream) && stream.state === "writable") {
        updateBackpressure(stream, controller.mark - controller.queue.total <= 0);
      }
      advanceQueue(controller);
    }, (error) => {
      if (stream.state === "writable") clearAlgorithms(controller);
      stream.inFlightWrite.reject(error);
      stream.inFlightWrite = undefined;
      dealWithRejection(stream, error);
    });
  }

  function chunkSize(controller, chunk) {
    if (controller.size === undefined) return 1;
    try {
      return controller.size(chunk);
    } catch (error) {
      errorIfNeeded(controller, error);
      return 1;
    }
  }

  function errorIfNeeded(controller, error) {
    if (controller.stream.state === "writable") errorController(controller, error);
  }

  function controllerWrite(controller, chunk, size) {
    const { stream } = controller;
    try {
      enqueueWithSize(controller.queue, chunk, size);
    } catch (error) {
      errorIfNeeded(controller, error);
      return;
    }
    if (!closeQueuedOrInFlight(stream) && stream.state === "writable") {
      updateBackpressure(stream, controller.mark - controller.queue.total <= 0);
    }
    advanceQueue(controller);
  }

  expose(WritableStream, "WritableStream");
  expose(WritableStreamDefaultController, "WritableStreamDefaultController");
  platformObject({ name: "WritableStream", is: isStream });
  platformObject({ name: "WritableStreamDefaultController", is: isController });

  return {
    __proto__: null, WritableStream, WritableStreamDefaultController, abort, chunkSize, close, closeQueuedOrInFlight,
    controllerWrite, create, desiredSize, ensureReadyRejected, errorIfNeeded, isStream, objectOr, pending, stateOf,
  };
})
