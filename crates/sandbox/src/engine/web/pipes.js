// `pipeTo` and `tee` of ReadableStream, as https://streams.spec.whatwg.org/#rs-abstract-ops has them.
(function (primordials, natives, part) {
  "use strict";

  const { Promise, TypeError } = primordials;
  const { dictionary, list } = part("shared");
  const { deferred, handled, isEmpty, noop, rejectedWith, resolvedWith, then } = part("queues");
  const readable = part("readable");
  const writable = part("writable");
  const writers = part("writer");
  const signals = part("abort");

  // Reads the options of a pipe in the order of WebIDL.
  function optionsOf(options) {
    const given = dictionary(options, "the options of a pipe");
    const read = { __proto__: null, preventAbort: false, preventCancel: false, preventClose: false, signal: undefined };
    if (given === null) return read;
    read.preventAbort = !!given.preventAbort;
    read.preventCancel = !!given.preventCancel;
    read.preventClose = !!given.preventClose;
    const { signal } = given;
    if (signal === undefined) return read;
    if (!signals.isSignal(signal)) throw new TypeError("signal must be an AbortSignal");
    read.signal = signal;
    return read;
  }

  // Reads the pair of streams that `pipeThrough` takes.
  function pairOf(transform) {
    const given = dictionary(transform, "the argument of pipeThrough");
    const inner = given === null ? undefined : given.readable;
    if (!readable.isStream(inner)) throw new TypeError("readable must be a ReadableStream");
    const outer = given.writable;
    if (!writable.isStream(outer)) throw new TypeError("writable must be a WritableStream");
    return { __proto__: null, readable: inner, writable: writable.stateOf(outer) };
  }

  function pipeTo(source, destination, options) {
    if (!writable.isStream(destination)) throw new TypeError("pipeTo needs a WritableStream");
    const target = writable.stateOf(destination);
    const given = optionsOf(options);
    if (source.reader !== undefined) throw new TypeError("the stream is locked");
    if (target.writer !== undefined) throw new TypeError("the writable stream is locked");
    return pipe(source, target, given);
  }

  function pipe(source, target, { preventAbort, preventCancel, preventClose, signal }) {
    const reader = readable.acquireReader(source);
    const writer = writers.acquireWriter(target);
    const { promise, resolve, reject } = deferred();
    let isShuttingDown = false;
    let currentWrite = resolvedWith(undefined);
    let forgetSignal = noop;

    function loop() {
      const next = (isDone) => {
        if (!isDone) then(step(), next, noop);
      };
      next(false);
    }

    function step() {
      if (isShuttingDown) return resolvedWith(true);
      return then(writer.ready.promise, () => new Promise((resolveRead, rejectRead) => {
        readable.read(reader, {
          __proto__: null,
          chunk(chunk) {
            // A microtask later: the code that enqueues the chunk must not call the sink.
            const written = then(resolvedWith(undefined), () => writers.write(writer, chunk));
            currentWrite = then(written, undefined, noop);
            resolveRead(false);
          },
          close: () => resolveRead(true),
          error: rejectRead,
        });
      }));
    }

    function waitForWrites() {
      const last = currentWrite;
      return then(last, () => last !== currentWrite ? waitForWrites() : undefined);
    }

    function shutDown(action, isError, error) {
      if (isShuttingDown) return;
      isShuttingDown = true;
      const rest = () => {
        if (action === undefined) finish(isError, error);
        else then(action(), () => finish(isError, error), (thrown) => finish(true, thrown));
      };
      const waits = target.state === "writable" && !writable.closeQueuedOrInFlight(target);
      if (waits) then(waitForWrites(), rest);
      else rest();
    }

    function finish(isError, error) {
      writers.releaseWriter(writer);
      readable.releaseReader(reader);
      forgetSignal();
      if (isError) reject(error);
      else resolve(undefined);
    }

    const onAbort = () => {
      const { reason } = signals.stateOf(signal);
      shutDown(() => {
        const aborted = preventAbort || target.state !== "writable" ? resolvedWith(undefined) : writable.abort(target, reason);
        const canceled = preventCancel || source.state !== "readable" ? resolvedWith(undefined) : readable.cancel(source, reason);
        return both(aborted, canceled);
      }, true, reason);
    };

    const whenSourceFails = (error) =>
      shutDown(preventAbort ? undefined : () => writable.abort(target, error), true, error);
    const whenTargetFails = (error) =>
      shutDown(preventCancel ? undefined : () => readable.cancel(source, error), true, error);
    const whenSourceCloses = () =>
      shutDown(preventClose ? undefined : () => writers.closeWithErrorPropagation(writer), false, undefined);

    source.disturbed = true;
    if (signal !== undefined) {
      if (signals.stateOf(signal).isAborted) {
        onAbort();
        return promise;
      }
      forgetSignal = signals.whenAborted(signal, onAbort);
    }
    if (source.state === "errored") whenSourceFails(source.storedError);
    else handled(then(reader.closed.promise, undefined, whenSourceFails));
    if (target.state === "errored") whenTargetFails(target.storedError);
    else handled(then(writer.closed.promise, undefined, whenTargetFails));
    if (source.state === "closed") whenSourceCloses();
    else handled(then(reader.closed.promise, whenSourceCloses, noop));
    if (writable.closeQueuedOrInFlight(target) || target.state === "closed") {
      whenTargetFails(new TypeError("the destination is closed or being closed"));
    }
    loop();
    return promise;
  }

  // Waits for both promises. Rejects with the first rejection.
  function both(one, other) {
    return new Promise((resolve, reject) => {
      let left = 2;
      const arrive = () => {
        if (--left === 0) resolve(undefined);
      };
      then(one, arrive, reject);
      then(other, arrive, reject);
    });
  }

  // With `clones`, the second branch gets clones of the chunks.
  function tee(stream, clones) {
    return stream.controller.isOfBytes ? part("bytetee").tee(stream) : teeDefault(stream, clones);
  }

  function teeDefault(stream, clones) {
    const reader = readable.acquireReader(stream);
    const cancellation = newCancellation(stream);
    let isReading = false;
    let readAgain = false;
    const branches = [undefined, undefined];
    const each = (act) => {
      if (!cancellation.isCanceled[0]) act(branches[0].controller);
      if (!cancellation.isCanceled[1]) act(branches[1].controller);
    };

    function pull() {
      if (isReading) {
        readAgain = true;
        return resolvedWith(undefined);
      }
      isReading = true;
      readable.read(reader, {
        __proto__: null,
        // A microtask later: a branch must not be errored inside its own pull.
        chunk: (chunk) => then(resolvedWith(undefined), () => {
          readAgain = false;
          let second = chunk;
          try {
            if (clones) second = part("clone").cloned(chunk);
          } catch (error) {
            readable.controllerError(branches[0].controller, error);
            readable.controllerError(branches[1].controller, error);
            cancellation.end(readable.cancel(stream, error));
            return;
          }
          if (!cancellation.isCanceled[0]) readable.controllerEnqueue(branches[0].controller, chunk);
          if (!cancellation.isCanceled[1]) readable.controllerEnqueue(branches[1].controller, second);
          isReading = false;
          if (readAgain) pull();
        }),
        close() {
          isReading = false;
          each(readable.controllerClose);
          cancellation.endUnlessBoth();
        },
        error() {
          isReading = false;
        },
      });
      return resolvedWith(undefined);
    }

    const branch = (index) => readable.create({
      __proto__: null, start: noop, pull, cancel: (reason) => cancellation.cancel(index, reason),
    }, 1, () => 1);
    branches[0] = branch(0);
    branches[1] = branch(1);
    handled(then(reader.closed.promise, undefined, (error) => {
      readable.controllerError(branches[0].controller, error);
      readable.controllerError(branches[1].controller, error);
      cancellation.endUnlessBoth();
    }));
    return branches;
  }

  // The cancellation of a stream whose two branches were both canceled.
  function newCancellation(stream) {
    const { promise, resolve } = deferred();
    const reasons = [undefined, undefined];
    const isCanceled = [false, false];
    return {
      __proto__: null,
      isCanceled,
      promise,
      end: resolve,
      endUnlessBoth() {
        if (!isCanceled[0] || !isCanceled[1]) resolve(undefined);
      },
      cancel(index, reason) {
        isCanceled[index] = true;
        reasons[index] = reason;
        if (isCanceled[1 - index]) resolve(readable.cancel(stream, [reasons[0], reasons[1]]));
        return promise;
      },
    };
  }

  return { __proto__: null, newCancellation, optionsOf, pairOf, pipe, pipeTo, tee };
})
