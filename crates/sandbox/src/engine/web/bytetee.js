// `tee` of a readable stream of bytes, as https://streams.spec.whatwg.org/#abstract-opdef-readablebytestreamtee has it.
(function (primordials, natives, part) {
  "use strict";

  const { apply, typedArraySet, Uint8Array } = primordials;
  const { bytesOf, sizeOf } = part("shared");
  const { handled, isEmpty, noop, resolvedWith, then } = part("queues");
  const readable = part("readable");
  const { controllerClose, controllerError, create, enqueue, partsOf } = part("bytestreams");
  const { byobRequest, requestStateOf, respond, respondWithNewView } = part("byobrequest");
  const { ReadableStreamBYOBReader, readBytes, readerStateOf } = part("byobreader");
  const { newCancellation } = part("pipes");

  function cloned(chunk) {
    const bytes = bytesOf(chunk);
    const copy = new Uint8Array(sizeOf(bytes));
    apply(typedArraySet, copy, [bytes]);
    return copy;
  }

  function tee(stream) {
    let reader = readable.acquireReader(stream);
    const cancellation = newCancellation(stream);
    const { isCanceled } = cancellation;
    const branches = [undefined, undefined];
    let isReading = false;
    const readAgain = [false, false];
    const later = (act) => then(resolvedWith(undefined), act);

    function forwardErrors(of) {
      handled(then(of.closed.promise, undefined, (error) => {
        if (of !== reader) return;
        failBoth(error);
        cancellation.endUnlessBoth();
      }));
    }

    function failBoth(error) {
      controllerError(branches[0].controller, error);
      controllerError(branches[1].controller, error);
    }

    // Takes a reader of the other kind, if it is not the present one.
    function takeReader(isByob) {
      if (reader.isByob === isByob) return;
      readable.releaseReader(reader);
      reader = isByob ? readerStateOf(new ReadableStreamBYOBReader(stream.object)) : readable.acquireReader(stream);
      forwardErrors(reader);
    }

    // Returns a copy of a chunk; undefined if that failed, and with it the stream.
    function copyOrFail(chunk) {
      try {
        return cloned(chunk);
      } catch (error) {
        failBoth(error);
        cancellation.end(readable.cancel(stream, error));
        return undefined;
      }
    }

    function goOn() {
      isReading = false;
      if (readAgain[0]) pull(0);
      else if (readAgain[1]) pull(1);
    }

    const respondIfPending = ({ controller }) => {
      if (!isEmpty(controller.pendingPullIntos)) respond(controller, 0);
    };

    function pullWithDefaultReader() {
      takeReader(false);
      readable.read(reader, {
        __proto__: null,
        chunk: (chunk) => later(() => {
          readAgain[0] = readAgain[1] = false;
          let second = chunk;
          if (!isCanceled[0] && !isCanceled[1]) {
            second = copyOrFail(chunk);
            if (second === undefined) return;
          }
          if (!isCanceled[0]) enqueue(branches[0].controller, partsOf(chunk));
          if (!isCanceled[1]) enqueue(branches[1].controller, partsOf(second));
          goOn();
        }),
        close() {
          isReading = false;
          if (!isCanceled[0]) controllerClose(branches[0].controller);
          if (!isCanceled[1]) controllerClose(branches[1].controller);
          respondIfPending(branches[0]);
          respondIfPending(branches[1]);
          cancellation.endUnlessBoth();
        },
        error() {
          isReading = false;
        },
      });
    }

    function pullWithByobReader(view, index) {
      takeReader(true);
      const own = branches[index];
      const other = branches[1 - index];
      readBytes(reader, partsOf(view), 1, {
        __proto__: null,
        chunk: (chunk) => later(() => {
          readAgain[0] = readAgain[1] = false;
          let copy;
          if (!isCanceled[1 - index]) {
            copy = copyOrFail(chunk);
            if (copy === undefined) return;
          }
          if (!isCanceled[index]) respondWithNewView(own.controller, partsOf(chunk));
          if (copy !== undefined) enqueue(other.controller, partsOf(copy));
          goOn();
        }),
        close(chunk) {
          isReading = false;
          if (!isCanceled[index]) controllerClose(own.controller);
          if (!isCanceled[1 - index]) controllerClose(other.controller);
          if (chunk !== undefined) {
            if (!isCanceled[index]) respondWithNewView(own.controller, partsOf(chunk));
            if (!isCanceled[1 - index]) respondIfPending(other);
          }
          cancellation.endUnlessBoth();
        },
        error() {
          isReading = false;
        },
      });
    }

    function pull(index) {
      if (isReading) {
        readAgain[index] = true;
        return resolvedWith(undefined);
      }
      isReading = true;
      const request = byobRequest(branches[index].controller);
      if (request === null) pullWithDefaultReader();
      else pullWithByobReader(requestStateOf(request).view, index);
      return resolvedWith(undefined);
    }

    const branch = (index) => create({
      __proto__: null, start: noop, pull: () => pull(index), cancel: (reason) => cancellation.cancel(index, reason),
    });
    branches[0] = branch(0);
    branches[1] = branch(1);
    forwardErrors(reader);
    return branches;
  }

  return { __proto__: null, tee };
})
