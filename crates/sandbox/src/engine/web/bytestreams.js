// Readable streams of bytes, with `ReadableByteStreamController`, as
// https://streams.spec.whatwg.org/#rbs-controller-class has it.
(function (primordials, natives, part) {
  "use strict";

  const {
    apply, ArrayBuffer, bufferBytes, bufferIsDetached, bufferTransfer, DataView, isView, RangeError, TypeError, typedArrayBuffer,
    typedArrayBytes, typedArrayOffset, typedArrays, typedArraySet, typedArrayTag, Uint8Array, viewBuffer, viewBytes,
    viewOffset,
  } = primordials;
  const { enforced, expose, isSharedBuffer, platformObject, required } = part("shared");
  const { isEmpty, newQueue, peek, push, reset, shift } = part("queues");
  const readable = part("readable");
  const { canCloseOrEnqueue, close, desiredSize, fail, hasDefaultReader, pullWith, waiting } = readable;

  const SECRET = {};
  const SIZE_MAX = 9007199254740991;
  let isController;

  // Takes a buffer away from whoever has it.
  const transferred = (buffer) => apply(bufferTransfer, buffer, []);
  const sizeOfBuffer = (buffer) => apply(bufferBytes, buffer, []);
  const isDetached = (buffer) => apply(bufferIsDetached, buffer, []);

  // Returns what a view consists of; throws unless `view` is one of memory that can be taken away.
  function partsOf(view) {
    if (!isView(view)) throw new TypeError("a view of an ArrayBuffer is needed");
    const tag = apply(typedArrayTag, view, []);
    const isTyped = tag !== undefined;
    const buffer = apply(isTyped ? typedArrayBuffer : viewBuffer, view, []);
    if (isSharedBuffer(buffer)) throw new TypeError("shared memory cannot be taken away");
    if (isDetached(buffer)) {
      return { __proto__: null, buffer, offset: 0, bytes: 0, unit: 1, constructor: isTyped ? typedArrays[tag] : DataView };
    }
    return {
      __proto__: null, buffer,
      offset: apply(isTyped ? typedArrayOffset : viewOffset, view, []),
      bytes: apply(isTyped ? typedArrayBytes : viewBytes, view, []),
      unit: isTyped ? typedArrays[tag].BYTES_PER_ELEMENT : 1,
      constructor: isTyped ? typedArrays[tag] : DataView,
    };
  }

  function copy(target, targetOffset, source, sourceOffset, bytes) {
    apply(typedArraySet, new Uint8Array(target, targetOffset, bytes), [new Uint8Array(source, sourceOffset, bytes)]);
  }

  class ReadableByteStreamController {
    #state;

    static {
      isController = (object) => #state in object;
    }

    constructor(secret = undefined, state = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.#state = state;
    }

    get byobRequest() {
      return part("byobrequest").byobRequest(this.#state);
    }

    get desiredSize() {
      return desiredSize(this.#state);
    }

    close() {
      const controller = this.#state;
      if (!canCloseOrEnqueue(controller)) throw new TypeError("the stream cannot be closed");
      controllerClose(controller);
    }

    enqueue(chunk) {
      const controller = this.#state;
      required(arguments.length, 1, "enqueue");
      const view = partsOf(chunk);
      if (view.bytes === 0 || sizeOfBuffer(view.buffer) === 0) throw new TypeError("the chunk is empty");
      if (!canCloseOrEnqueue(controller)) throw new TypeError("the stream takes no chunk");
      enqueue(controller, view);
    }

    error(reason = undefined) {
      controllerError(this.#state, reason);
    }
  }

  function setUpFromSource(stream, source, mark) {
    const algorithms = part("sources").algorithmsOf(source);
    if (source.autoAllocateChunkSize === 0) throw new TypeError("autoAllocateChunkSize must be more than 0");
    setUpController(stream, algorithms, mark, source.autoAllocateChunkSize);
  }

  function create(algorithms) {
    const stream = readable.newStream();
    setUpController(stream, algorithms, 0, undefined);
    return stream;
  }

  function setUpController(stream, algorithms, mark, chunkSize) {
    const controller = {
      __proto__: null, stream, object: undefined, isOfBytes: true, queue: newQueue(), isStarted: false,
      closeRequested: false, pulling: false, pullAgain: false, mark, chunkSize, pendingPullIntos: newQueue(),
      request: undefined, pull: algorithms.pull, cancel: algorithms.cancel,
      cancelSteps(reason) {
        clearPendingPullIntos(controller);
        reset(controller.queue);
        const { cancel } = controller;
        clearAlgorithms(controller);
        return cancel(reason);
      },
      pullSteps: (request) => pullDefault(controller, request),
      releaseSteps() {
        if (isEmpty(controller.pendingPullIntos)) return;
        const first = peek(controller.pendingPullIntos);
        first.readerKind = "none";
        controller.pendingPullIntos = newQueue();
        push(controller.pendingPullIntos, first);
      },
    };
    controller.object = new ReadableByteStreamController(SECRET, controller);
    stream.controller = controller;
    readable.start(controller, algorithms.start, pullIfNeeded, controllerError);
  }

  function pullIfNeeded(controller) {
    if (shouldPull(controller)) pullWith(controller, pullIfNeeded, controllerError);
  }

  function shouldPull(controller) {
    if (!canCloseOrEnqueue(controller) || !controller.isStarted) return false;
    return waiting(controller.stream) > 0 || desiredSize(controller) > 0;
  }

  function clearAlgorithms(controller) {
    controller.pull = controller.cancel = undefined;
  }

  function clearPendingPullIntos(controller) {
    invalidateRequest(controller);
    controller.pendingPullIntos = newQueue();
  }

  function invalidateRequest(controller) {
    if (controller.request === undefined) return;
    controller.request.controller = undefined;
    controller.request.view = null;
    controller.request = undefined;
  }

  function controllerClose(controller) {
    if (!canCloseOrEnqueue(controller)) return;
    if (controller.queue.total > 0) {
      controller.closeRequested = true;
      return;
    }
    if (!isEmpty(controller.pendingPullIntos)) {
      const first = peek(controller.pendingPullIntos);
      if (first.filled % first.unit !== 0) {
        const error = new TypeError("the stream is closed in the middle of an element");
        controllerError(controller, error);
        throw error;
      }
    }
    clearAlgorithms(controller);
    close(controller.stream);
  }

  function controllerError(controller, error) {
    if (controller.stream.state !== "readable") return;
    clearPendingPullIntos(controller);
    reset(controller.queue);
    clearAlgorithms(controller);
    fail(controller.stream, error);
  }

  function pushChunk(controller, buffer, offset, bytes) {
    push(controller.queue, { __proto__: null, buffer, offset, bytes });
    controller.queue.total += bytes;
  }

  // Enqueues a copy of part of a buffer.
  function pushCopy(controller, buffer, offset, bytes) {
    let made;
    try {
      made = new ArrayBuffer(bytes);
    } catch (error) {
      controllerError(controller, error);
      throw error;
    }
    copy(made, 0, buffer, offset, bytes);
    pushChunk(controller, made, 0, bytes);
  }

  function enqueue(controller, { buffer, offset, bytes }) {
    const { stream } = controller;
    if (!canCloseOrEnqueue(controller)) return;
    if (isDetached(buffer)) throw new TypeError("the buffer of the chunk is detached");
    const taken = transferred(buffer);
    if (!isEmpty(controller.pendingPullIntos)) {
      const first = peek(controller.pendingPullIntos);
      if (isDetached(first.buffer)) throw new TypeError("the buffer of the request is detached");
      invalidateRequest(controller);
      first.buffer = transferred(first.buffer);
      if (first.readerKind === "none") enqueueDetached(controller, first);
    }
    if (hasDefaultReader(stream)) {
      serveReadRequests(controller);
      if (waiting(stream) === 0) {
        pushChunk(controller, taken, offset, bytes);
      } else {
        if (!isEmpty(controller.pendingPullIntos)) shift(controller.pendingPullIntos);
        shift(stream.reader.requests).chunk(new Uint8Array(taken, offset, bytes));
      }
    } else if (isByob(stream)) {
      pushChunk(controller, taken, offset, bytes);
      const filled = processPullIntos(controller);
      while (!isEmpty(filled)) commit(stream, shift(filled));
    } else {
      pushChunk(controller, taken, offset, bytes);
    }
    pullIfNeeded(controller);
  }

  const isByob = (stream) => stream.reader !== undefined && stream.reader.isByob;

  function enqueueDetached(controller, pullInto) {
    if (pullInto.filled > 0) pushCopy(controller, pullInto.buffer, pullInto.offset, pullInto.filled);
    shift(controller.pendingPullIntos);
  }

  function serveReadRequests(controller) {
    const { reader } = controller.stream;
    while (!isEmpty(reader.requests)) {
      if (controller.queue.total === 0) return;
      fillRequest(controller, shift(reader.requests));
    }
  }

  function fillRequest(controller, request) {
    const { buffer, offset, bytes } = shift(controller.queue);
    controller.queue.total -= bytes;
    handleDrain(controller);
    request.chunk(new Uint8Array(buffer, offset, bytes));
  }

  function handleDrain(controller) {
    if (controller.queue.total === 0 && controller.closeRequested) {
      clearAlgorithms(controller);
      close(controller.stream);
    } else {
      pullIfNeeded(controller);
    }
  }

  function pullDefault(controller, request) {
    const { stream } = controller;
    if (controller.queue.total > 0) {
      fillRequest(controller, request);
      return;
    }
    if (controller.chunkSize !== undefined) {
      let buffer;
      try {
        buffer = new ArrayBuffer(controller.chunkSize);
      } catch (error) {
        request.error(error);
        return;
      }
      push(controller.pendingPullIntos, {
        __proto__: null, buffer, size: controller.chunkSize, offset: 0, bytes: controller.chunkSize, filled: 0, least: 1,
        unit: 1, constructor: Uint8Array, readerKind: "default",
      });
    }
    push(stream.reader.requests, request);
    pullIfNeeded(controller);
  }

  function pullInto(controller, { buffer, offset, bytes, unit, constructor }, min, request) {
    const { stream } = controller;
    let taken;
    try {
      taken = transferred(buffer);
    } catch (error) {
      request.error(error);
      return;
    }
    const pending = {
      __proto__: null, buffer: taken, size: sizeOfBuffer(taken), offset, bytes, filled: 0, least: min * unit, unit,
      constructor, readerKind: "byob",
    };
    if (!isEmpty(controller.pendingPullIntos)) {
      push(controller.pendingPullIntos, pending);
      push(stream.reader.requests, request);
      return;
    }
    if (stream.state === "closed") {
      request.close(new constructor(taken, offset, 0));
      return;
    }
    if (controller.queue.total > 0) {
      if (fill(controller, pending)) {
        const view = converted(pending);
        handleDrain(controller);
        request.chunk(view);
        return;
      }
      if (controller.closeRequested) {
        const error = new TypeError("the stream ends in the middle of an element");
        controllerError(controller, error);
        request.error(error);
        return;
      }
    }
    push(controller.pendingPullIntos, pending);
    push(stream.reader.requests, request);
    pullIfNeeded(controller);
  }

  // Fills a request from the queue. Returns whether it has at least as much as it asked for.
  function fill(controller, pending) {
    const most = controller.queue.total < pending.bytes - pending.filled ? controller.queue.total : pending.bytes - pending.filled;
    const filledThen = pending.filled + most;
    const aligned = filledThen - filledThen % pending.unit;
    const isReady = aligned >= pending.least;
    let left = isReady ? aligned - pending.filled : most;
    while (left > 0) {
      const chunk = peek(controller.queue);
      const bytes = left < chunk.bytes ? left : chunk.bytes;
      copy(pending.buffer, pending.offset + pending.filled, chunk.buffer, chunk.offset, bytes);
      if (bytes === chunk.bytes) {
        shift(controller.queue);
      } else {
        chunk.offset += bytes;
        chunk.bytes -= bytes;
      }
      controller.queue.total -= bytes;
      pending.filled += bytes;
      left -= bytes;
    }
    return isReady;
  }

  const converted = ({ buffer, offset, filled, unit, constructor }) =>
    new constructor(transferred(buffer), offset, filled / unit);

  function commit(stream, pending) {
    const isDone = stream.state === "closed";
    const view = converted(pending);
    const request = shift(stream.reader.requests);
    if (pending.readerKind === "byob" && isDone) request.close(view);
    else request.chunk(view);
  }

  // Returns the requests that can be answered.
  function processPullIntos(controller) {
    const filled = newQueue();
    while (!isEmpty(controller.pendingPullIntos) && controller.queue.total > 0) {
      const pending = peek(controller.pendingPullIntos);
      if (!fill(controller, pending)) break;
      shift(controller.pendingPullIntos);
      push(filled, pending);
    }
    return filled;
  }

  expose(ReadableByteStreamController, "ReadableByteStreamController");
  platformObject({ name: "ReadableByteStreamController", is: isController });

  return {
    __proto__: null, ReadableByteStreamController, commit, controllerClose, controllerError, create, enqueue, enqueueDetached,
    invalidateRequest, isByob, isDetached, partsOf, processPullIntos, pullIfNeeded, pullInto, pushCopy, setUpFromSource,
    sizeOfBuffer, transferred,
  };
})
