// The underlying sources of readable streams, as WebIDL reads them.
(function (primordials, natives, part) {
  "use strict";

  const { apply, TypeError } = primordials;
  const { enforced, toText } = part("shared");
  const { method, promiseCall, resolvedWith } = part("queues");

  const SIZE_MAX = 9007199254740991;

  // Reads the members of an underlying source in the order of WebIDL.
  function sourceOf(given) {
    const source = { __proto__: null, given };
    if (given === undefined) return source;
    const size = given.autoAllocateChunkSize;
    if (size !== undefined) source.autoAllocateChunkSize = enforced(size, SIZE_MAX, "autoAllocateChunkSize");
    source.cancel = method(given, "cancel");
    source.pull = method(given, "pull");
    source.start = method(given, "start");
    const { type } = given;
    if (type !== undefined) source.type = toText(type);
    if (type !== undefined && source.type !== "bytes") throw new TypeError("'" + source.type + "' is no type of a source");
    return source;
  }

  function algorithmsOf({ given, start, pull, cancel }) {
    const call = (act, args) => act === undefined ? resolvedWith(undefined) : promiseCall(act, given, args);
    return {
      __proto__: null,
      start: (controller) => start === undefined ? undefined : apply(start, given, [controller]),
      pull: (controller) => call(pull, [controller]),
      cancel: (reason) => call(cancel, [reason]),
    };
  }

  return { __proto__: null, algorithmsOf, sourceOf };
})
