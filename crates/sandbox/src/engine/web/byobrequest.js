// `ReadableStreamBYOBRequest`, as https://streams.spec.whatwg.org/#rs-byob-request-class has it.
(function (primordials, natives, part) {
  "use strict";

  const { apply, RangeError, TypeError, typedArrayBuffer, Uint8Array } = primordials;
  const { enforced, expose, platformObject, required } = part("shared");
  const { isEmpty, newQueue, peek, push, shift } = part("queues");
  const { waiting } = part("readable");
  const {
    commit, enqueueDetached, invalidateRequest, isByob, isDetached, partsOf, processPullIntos, pullIfNeeded, pushCopy,
    sizeOfBuffer, transferred,
  } = part("bytestreams");

  const SECRET = {};
  const SIZE_MAX = 9007199254740991;
  let isRequest, requestStateOf;

  function byobRequest(controller) {
    if (controller.request === undefined && !isEmpty(controller.pendingPullIntos)) {
      const first = peek(controller.pendingPullIntos);
      const view = new Uint8Array(first.buffer, first.offset + first.filled, first.bytes - first.filled);
      controller.request = { __proto__: null, controller, view, object: undefined };
      controller.request.object = new ReadableStreamBYOBRequest(SECRET, controller.request);
    }
    return controller.request === undefined ? null : controller.request.object;
  }

  class ReadableStreamBYOBRequest {
    #state;

    static {
      requestStateOf = (request) => request.#state;
      isRequest = (object) => #state in object;
    }

    constructor(secret = undefined, state = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.#state = state;
    }

    get view() {
      return this.#state.view;
    }

    respond(bytesWritten) {
      const { controller, view } = this.#state;
      required(arguments.length, 1, "respond");
      const bytes = enforced(bytesWritten, SIZE_MAX, "bytesWritten");
      const { controller: present } = this.#state;
      if (present === undefined) throw new TypeError("the request was answered already");
      if (isDetached(apply(typedArrayBuffer, view, []))) throw new TypeError("the buffer of the request is detached");
      respond(controller, bytes);
    }

    respondWithNewView(view) {
      const state = this.#state;
      required(arguments.length, 1, "respondWithNewView");
      const parts = partsOf(view);
      if (state.controller === undefined) throw new TypeError("the request was answered already");
      if (isDetached(parts.buffer)) throw new TypeError("the buffer of the view is detached");
      respondWithNewView(state.controller, parts);
    }
  }

  function respond(controller, bytes) {
    const first = peek(controller.pendingPullIntos);
    if (controller.stream.state === "closed") {
      if (bytes !== 0) throw new TypeError("the stream is closed");
    } else {
      if (bytes === 0) throw new TypeError("bytesWritten must be more than 0");
      if (first.filled + bytes > first.bytes) throw new RangeError("bytesWritten is too large");
    }
    first.buffer = transferred(first.buffer);
    respondInternal(controller, bytes);
  }

  function respondWithNewView(controller, { buffer, offset, bytes }) {
    const first = peek(controller.pendingPullIntos);
    if (controller.stream.state === "closed") {
      if (bytes !== 0) throw new TypeError("the stream is closed");
    } else if (bytes === 0) {
      throw new TypeError("the view is empty");
    }
    if (first.offset + first.filled !== offset) throw new RangeError("the view is at another place");
    if (first.size !== sizeOfBuffer(buffer)) throw new RangeError("the buffer of the view has another size");
    if (first.filled + bytes > first.bytes) throw new RangeError("the view is too long");
    first.buffer = transferred(buffer);
    respondInternal(controller, bytes);
  }

  function respondInternal(controller, bytes) {
    const first = peek(controller.pendingPullIntos);
    invalidateRequest(controller);
    if (controller.stream.state === "closed") respondClosed(controller, first);
    else respondReadable(controller, bytes, first);
    pullIfNeeded(controller);
  }

  function respondClosed(controller, first) {
    const { stream } = controller;
    if (first.readerKind === "none") shift(controller.pendingPullIntos);
    if (!isByob(stream)) return;
    const filled = newQueue();
    while (waiting(stream) > filled.items.length) push(filled, shift(controller.pendingPullIntos));
    while (!isEmpty(filled)) commit(stream, shift(filled));
  }

  function respondReadable(controller, bytes, pending) {
    const { stream } = controller;
    pending.filled += bytes;
    if (pending.readerKind === "none") {
      enqueueDetached(controller, pending);
      const filled = processPullIntos(controller);
      while (!isEmpty(filled)) commit(stream, shift(filled));
      return;
    }
    if (pending.filled < pending.least) return;
    shift(controller.pendingPullIntos);
    const rest = pending.filled % pending.unit;
    if (rest > 0) pushCopy(controller, pending.buffer, pending.offset + pending.filled - rest, rest);
    pending.filled -= rest;
    const filled = processPullIntos(controller);
    commit(stream, pending);
    while (!isEmpty(filled)) commit(stream, shift(filled));
  }

  expose(ReadableStreamBYOBRequest, "ReadableStreamBYOBRequest");
  platformObject({ name: "ReadableStreamBYOBRequest", is: isRequest });

  return { __proto__: null, ReadableStreamBYOBRequest, byobRequest, requestStateOf, respond, respondWithNewView };
})
