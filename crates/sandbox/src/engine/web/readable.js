// `ReadableStream` with its default reader and controller, as https://streams.spec.whatwg.org/#rs has them. The functions
// have the names of the standard's abstract operations without their prefixes.
(function (primordials, natives, part) {
  "use strict";

  const { asyncIterator, RangeError, TypeError } = primordials;
  const { define, dictionary, expose, platformObject, required, toText } = part("shared");
  const {
    deferred, dequeue, enqueueWithSize, handled, isEmpty, markOf, newQueue, noop, push, rejectedWith,
    reset, resolvedWith, settled, shift, sizeOfStrategy, strategyOf, then,
  } = part("queues");

  const SECRET = {};

  let stateOf, isStream, readerStateOf, isReader, isController;
  const notOf = (what) => rejectedWith(new TypeError("this is no " + what));
  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  class ReadableStream {
    #state;

    static {
      stateOf = (stream) => stream.#state;
      isStream = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(underlyingSource = undefined, strategy = undefined) {
      this.#state = {
        __proto__: null, object: this, state: "readable", storedError: undefined, reader: undefined, controller: undefined,
        disturbed: false,
      };
      // Made by `create`, which sets it up.
      if (underlyingSource === SECRET) return;
      if (underlyingSource !== undefined && !isObject(underlyingSource)) {
        throw new TypeError("the source of a ReadableStream must be an object");
      }
      const read = strategyOf(strategy);
      const { algorithmsOf, sourceOf } = part("sources");
      const source = sourceOf(underlyingSource);
      if (source.type === "bytes") {
        if (read.size !== undefined) throw new RangeError("the strategy of a stream of bytes has no size");
        part("bytestreams").setUpFromSource(this.#state, source, markOf(read, 0));
        return;
      }
      setUpController(this.#state, algorithmsOf(source), markOf(read, 1), sizeOfStrategy(read));
    }

    static from(asyncIterable) {
      required(arguments.length, 1, "ReadableStream.from");
      return part("iteration").fromIterable(asyncIterable).object;
    }

    get locked() {
      return this.#state.reader !== undefined;
    }

    cancel(reason = undefined) {
      if (!isStream(this)) return notOf("ReadableStream");
      if (this.#state.reader !== undefined) return rejectedWith(new TypeError("the stream is locked"));
      return cancel(this.#state, reason);
    }

    getReader(options = undefined) {
      const state = this.#state;
      const given = dictionary(options, "the options of getReader");
      const mode = given === null ? undefined : given.mode;
      if (mode === undefined) return new ReadableStreamDefaultReader(state.object);
      if (toText(mode) !== "byob") throw new TypeError("'" + toText(mode) + "' is no mode of a reader");
      return new (part("byobreader").ReadableStreamBYOBReader)(state.object);
    }

    pipeThrough(transform, options = undefined) {
      const state = this.#state;
      required(arguments.length, 1, "pipeThrough");
      const { pipe, optionsOf, pairOf } = part("pipes");
      const { readable, writable } = pairOf(transform);
      const given = optionsOf(options);
      if (state.reader !== undefined) throw new TypeError("the stream is locked");
      if (writable.writer !== undefined) throw new TypeError("the writable stream is locked");
      handled(pipe(state, writable, given));
      return readable;
    }

    pipeTo(destination, options = undefined) {
      if (!isStream(this)) return notOf("ReadableStream");
      const { pipeTo } = part("pipes");
      try {
        required(arguments.length, 1, "pipeTo");
        return pipeTo(this.#state, destination, options);
      } catch (error) {
        return rejectedWith(error);
      }
    }

    tee() {
      const { tee } = part("pipes");
      const branches = tee(this.#state, false);
      return [branches[0].object, branches[1].object];
    }

    values(options = undefined) {
      const state = this.#state;
      const given = dictionary(options, "the options of values");
      const preventCancel = given !== null && !!given.preventCancel;
      return part("iteration").values(state, preventCancel);
    }
  }

  // Makes a stream of the platform's own.
  function create(algorithms, mark, size) {
    const state = newStream();
    setUpController(state, algorithms, mark, size);
    return state;
  }

  const newStream = () => stateOf(new ReadableStream(SECRET));

  function cancel(stream, reason) {
    stream.disturbed = true;
    if (stream.state === "closed") return resolvedWith(undefined);
    if (stream.state === "errored") return rejectedWith(stream.storedError);
    close(stream);
    const { reader } = stream;
    if (reader !== undefined && reader.isByob) {
      const { requests } = reader;
      reader.requests = newQueue();
      while (!isEmpty(requests)) shift(requests).close(undefined);
    }
    return then(stream.controller.cancelSteps(reason), noop);
  }

  function close(stream) {
    stream.state = "closed";
    const { reader } = stream;
    if (reader === undefined) return;
    reader.closed.resolve();
    if (reader.isByob) return;
    const { requests } = reader;
    reader.requests = newQueue();
    while (!isEmpty(requests)) shift(requests).close();
  }

  function fail(stream, error) {
    stream.state = "errored";
    stream.storedError = error;
    const { reader } = stream;
    if (reader === undefined) return;
    reader.closed.reject(error);
    handled(reader.closed.promise);
    errorRequests(reader, error);
  }

  function errorRequests(reader, error) {
    const { requests } = reader;
    reader.requests = newQueue();
    while (!isEmpty(requests)) shift(requests).error(error);
  }

  const waiting = (stream) => stream.reader === undefined ? 0 : stream.reader.requests.items.length - stream.reader.requests.first;
  const hasDefaultReader = (stream) => stream.reader !== undefined && !stream.reader.isByob;

  // Makes the state of a reader of a stream.
  function newReader(object, stream, isByob) {
    if (stream.reader !== undefined) throw new TypeError("the stream is locked");
    const reader = { __proto__: null, object, stream, isByob, requests: newQueue(), closed: undefined };
    stream.reader = reader;
    if (stream.state === "readable") reader.closed = deferred();
    else if (stream.state === "closed") reader.closed = settled(resolvedWith(undefined));
    else reader.closed = settled(handled(rejectedWith(stream.storedError)));
    return reader;
  }

  function releaseReader(reader) {
    const { stream } = reader;
    const error = new TypeError("the reader is released");
    if (stream.state === "readable") reader.closed.reject(error);
    else reader.closed = settled(rejectedWith(error));
    handled(reader.closed.promise);
    stream.controller.releaseSteps();
    stream.reader = undefined;
    reader.stream = undefined;
    errorRequests(reader, new TypeError("the reader is released"));
  }

  class ReadableStreamDefaultReader {
    #state;

    static {
      readerStateOf = (reader) => reader.#state;
      isReader = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(stream) {
      if (!isStream(stream)) throw new TypeError("ReadableStreamDefaultReader needs a ReadableStream");
      this.#state = newReader(this, stateOf(stream), false);
    }

    get closed() {
      return isReader(this) ? this.#state.closed.promise : handled(notOf("ReadableStreamDefaultReader"));
    }

    cancel(reason = undefined) {
      if (!isReader(this)) return notOf("ReadableStreamDefaultReader");
      if (this.#state.stream === undefined) return rejectedWith(new TypeError("the reader is released"));
      return cancel(this.#state.stream, reason);
    }

    read() {
      if (!isReader(this)) return notOf("ReadableStreamDefaultReader");
      if (this.#state.stream === undefined) return rejectedWith(new TypeError("the reader is released"));
      const { promise, resolve, reject } = deferred();
      read(this.#state, {
        __proto__: null,
        chunk: (value) => resolve({ value, done: false }),
        close: () => resolve({ value: undefined, done: true }),
        error: reject,
      });
      return promise;
    }

    releaseLock() {
      if (this.#state.stream !== undefined) releaseReader(this.#state);
    }
  }

  const acquireReader = (stream) => readerStateOf(new ReadableStreamDefaultReader(stream.object));

  function read(reader, request) {
    const { stream } = reader;
    stream.disturbed = true;
    if (stream.state === "closed") request.close();
    else if (stream.state === "errored") request.error(stream.storedError);
    else stream.controller.pullSteps(request);
  }

  let controllerStateOf;

  class ReadableStreamDefaultController {
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
      return desiredSize(this.#state);
    }

    close() {
      if (!canCloseOrEnqueue(this.#state)) throw new TypeError("the stream cannot be closed");
      controllerClose(this.#state);
    }

    enqueue(chunk = undefined) {
      if (!canCloseOrEnqueue(this.#state)) throw new TypeError("the stream takes no chunk");
      controllerEnqueue(this.#state, chunk);
    }

    error(reason = undefined) {
      controllerError(this.#state, reason);
    }
  }

  function setUpController(stream, algorithms, mark, size) {
    const controller = {
      __proto__: null, stream, object: undefined, queue: newQueue(), isStarted: false, closeRequested: false,
      pulling: false, pullAgain: false, mark, size, pull: algorithms.pull, cancel: algorithms.cancel,
      cancelSteps(reason) {
        reset(controller.queue);
        const { cancel } = controller;
        clearAlgorithms(controller);
        return cancel(reason);
      },
      pullSteps(request) {
        if (isEmpty(controller.queue)) {
          push(stream.reader.requests, request);
          pullIfNeeded(controller);
          return;
        }
        const chunk = dequeue(controller.queue);
        if (controller.closeRequested && isEmpty(controller.queue)) {
          clearAlgorithms(controller);
          close(stream);
        } else {
          pullIfNeeded(controller);
        }
        request.chunk(chunk);
      },
      releaseSteps: noop,
    };
    controller.object = new ReadableStreamDefaultController(SECRET, controller);
    stream.controller = controller;
    start(controller, algorithms.start, pullIfNeeded, controllerError);
  }

  // Starts the source of a controller, of either kind.
  function start(controller, act, pull, fail) {
    then(resolvedWith(act(controller.object)), () => {
      controller.isStarted = true;
      pull(controller);
    }, (error) => fail(controller, error));
  }

  function pullIfNeeded(controller) {
    if (shouldPull(controller)) pullWith(controller, pullIfNeeded, controllerError);
  }

  // Calls the source of a controller, of either kind, or notes that it is to be called again.
  function pullWith(controller, again, fail) {
    if (controller.pulling) {
      controller.pullAgain = true;
      return;
    }
    controller.pulling = true;
    then(controller.pull(controller.object), () => {
      controller.pulling = false;
      if (!controller.pullAgain) return;
      controller.pullAgain = false;
      again(controller);
    }, (error) => fail(controller, error));
  }

  function shouldPull(controller) {
    if (!canCloseOrEnqueue(controller) || !controller.isStarted) return false;
    return waiting(controller.stream) > 0 || desiredSize(controller) > 0;
  }

  function clearAlgorithms(controller) {
    controller.pull = controller.cancel = controller.size = undefined;
  }

  const canCloseOrEnqueue = (controller) => !controller.closeRequested && controller.stream.state === "readable";

  function desiredSize({ stream, mark, queue }) {
    if (stream.state === "errored") return null;
    return stream.state === "closed" ? 0 : mark - queue.total;
  }

  function controllerClose(controller) {
    if (!canCloseOrEnqueue(controller)) return;
    controller.closeRequested = true;
    if (!isEmpty(controller.queue)) return;
    clearAlgorithms(controller);
    close(controller.stream);
  }

  function controllerEnqueue(controller, chunk) {
    if (!canCloseOrEnqueue(controller)) return;
    if (waiting(controller.stream) > 0) {
      shift(controller.stream.reader.requests).chunk(chunk);
    } else {
      try {
        enqueueWithSize(controller.queue, chunk, controller.size(chunk));
      } catch (error) {
        controllerError(controller, error);
        throw error;
      }
    }
    pullIfNeeded(controller);
  }

  function controllerError(controller, error) {
    if (controller.stream.state !== "readable") return;
    reset(controller.queue);
    clearAlgorithms(controller);
    fail(controller.stream, error);
  }

  expose(ReadableStream, "ReadableStream");
  define(ReadableStream.prototype, asyncIterator, ReadableStream.prototype.values, false, true);
  expose(ReadableStreamDefaultReader, "ReadableStreamDefaultReader");
  expose(ReadableStreamDefaultController, "ReadableStreamDefaultController");
  platformObject({ name: "ReadableStream", is: isStream });
  platformObject({ name: "ReadableStreamDefaultReader", is: isReader });
  platformObject({ name: "ReadableStreamDefaultController", is: isController });

  return {
    __proto__: null, ReadableStream, ReadableStreamDefaultReader, ReadableStreamDefaultController, acquireReader,
    cancel, canCloseOrEnqueue, close, controllerClose, controllerEnqueue, controllerError, controllerStateOf, create,
    desiredSize, errorRequests, fail, hasDefaultReader, isStream, newReader, newStream, pullWith, read, releaseReader,
    shouldPull, start, stateOf, waiting,
  };
})
