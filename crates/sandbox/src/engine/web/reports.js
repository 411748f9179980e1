// Exceptions and rejections that no code of the script handles, as https://html.spec.whatwg.org/#runtime-script-errors has
// them: `ErrorEvent`, `PromiseRejectionEvent`, `reportError`, and the event handlers of the global object.
//
// An event is fired only if the global object has a listener of its type. If no listener cancels the event, the execution
// ends.
(function (primordials, natives, part) {
  "use strict";

  const { apply, global, TypeError } = primordials;
  const { describe, fail, watch: ask } = natives;
  const { dictionary, expose, required, scalars, toText } = part("shared");
  const { Event, fireEvent, globalHas, handlerOf } = part("events");

  // The kinds of reports, in the order of `Kind` in reports.rs.
  const EXCEPTION = 0, REJECTION = 1;
  let isErrorEvent, partsOf;

  class ErrorEvent extends Event {
    #message = "";
    #filename = "";
    #lineno = 0;
    #colno = 0;
    #error = undefined;

    static {
      isErrorEvent = (event) => #error in event;
      partsOf = (event) => [event.#message, event.#filename, event.#lineno, event.#colno, event.#error];
    }

    constructor(type, eventInitDict = undefined) {
      required(arguments.length, 1, "ErrorEvent");
      super(type, eventInitDict);
      const init = dictionary(eventInitDict, "the second argument of ErrorEvent");
      if (init === null) return;
      const { colno, error, filename, lineno, message } = init;
      if (colno !== undefined) this.#colno = colno >>> 0;
      this.#error = error;
      if (filename !== undefined) this.#filename = scalars(filename);
      if (lineno !== undefined) this.#lineno = lineno >>> 0;
      if (message !== undefined) this.#message = toText(message);
    }

    get message() {
      return this.#message;
    }
    get filename() {
      return this.#filename;
    }
    get lineno() {
      return this.#lineno;
    }
    get colno() {
      return this.#colno;
    }
    get error() {
      return this.#error;
    }
  }

  class PromiseRejectionEvent extends Event {
    #promise;
    #reason;

    constructor(type, eventInitDict) {
      required(arguments.length, 2, "PromiseRejectionEvent");
      super(type, eventInitDict);
      const init = dictionary(eventInitDict, "the second argument of PromiseRejectionEvent");
      const given = init === null ? undefined : init.promise;
      if ((typeof given !== "object" || given === null) && typeof given !== "function") {
        throw new TypeError("PromiseRejectionEvent needs the object promise");
      }
      this.#promise = given;
      this.#reason = init.reason;
    }

    get promise() {
      return this.#promise;
    }
    get reason() {
      return this.#reason;
    }
  }

  // Set while listeners of `error` run: an exception of theirs is no further event.
  let isReporting = false;
  let isWatching = false;

  // Tells the engine to ask `handles` before it ends the execution.
  function watch() {
    if (isWatching) return;
    ask(handles);
    isWatching = true;
  }

  function handles(kind, value, promise) {
    if (kind === EXCEPTION) return handlesException(value);
    const type = kind === REJECTION ? "unhandledrejection" : "rejectionhandled";
    if (!globalHas(type)) return false;
    const init = { __proto__: null, cancelable: kind === REJECTION, promise, reason: value };
    return !fireEvent(global, new PromiseRejectionEvent(type, init));
  }

  function handlesException(error) {
    if (isReporting || !globalHas("error")) return false;
    isReporting = true;
    try {
      const described = describe(error);
      return !fireEvent(global, new ErrorEvent("error", {
        __proto__: null, cancelable: true, message: described[0], filename: described[1], lineno: described[2],
        colno: described[3], error,
      }));
    } finally {
      isReporting = false;
    }
  }

  // Reports an exception of a listener, or one that a script reports. The execution does not end before the code that runs.
  function report(error) {
    if (!handlesException(error)) fail(error);
  }

  function reportError(error) {
    required(arguments.length, 1, "reportError");
    report(error);
  }

  // The handlers of the event handler attributes of the global object, as `handlerOf` returns them.
  const handlers = { __proto__: null, error: null, unhandledrejection: null, rejectionhandled: null };

  function handler(type) {
    return handlers[type] === null ? null : handlers[type].handler;
  }

  function setHandler(type, value) {
    handlers[type] = handlerOf(global, type, value, handlers[type], type === "error" ? callOnError : undefined);
  }

  // `onerror` gets the parts of an ErrorEvent one by one, and cancels it by returning true.
  function callOnError(act, target, event) {
    if (!isErrorEvent(event)) return apply(act, target, [event]) === false;
    return apply(act, target, partsOf(event)) === true;
  }

  expose(ErrorEvent, "ErrorEvent");
  expose(PromiseRejectionEvent, "PromiseRejectionEvent");

  return {
    __proto__: null, ErrorEvent, PromiseRejectionEvent, handler, report, reportError, setHandler, watch,
  };
})
