// What an execution with tools finds: the proxy around its tools, the error of a failed call, and weak references that
// hold. Evaluated before any guest code.
(function () {
  "use strict";

  const { defineProperty, freeze, hasOwn } = Object;
  const { apply, construct } = Reflect;
  const { isRawJSON, parse } = JSON;
  const add = Function.prototype.call.bind(Set.prototype.add);
  const hidden = (value) => ({ __proto__: null, value, writable: true, enumerable: false, configurable: true });
  const shown = (value) => ({ __proto__: null, value, writable: true, enumerable: true, configurable: true });

  class ToolError extends Error {}
  defineProperty(ToolError.prototype, "name", hidden("ToolError"));

  // Constructs a class of the engine in another way, and leaves everything else of it as it is.
  function replaceConstructor(name, make) {
    const original = globalThis[name];
    const replacement = new Proxy(original, { __proto__: null, construct: make });
    defineProperty(original.prototype, "constructor", hidden(replacement));
    defineProperty(globalThis, name, hidden(replacement));
  }

  // A collection of garbage would show in the script, and no log tells when one ran.
  const held = new Set();
  replaceConstructor("WeakRef", (target, values, newTarget) => {
    const reference = construct(target, values, newTarget);
    add(held, values[0]);
    return reference;
  });
  const never = () => undefined;
  replaceConstructor("FinalizationRegistry", (target, values, newTarget) => {
    if (typeof values[0] === "function") values[0] = never;
    return construct(target, values, newTarget);
  });

  const PlainTypeError = TypeError;

  return {
    __proto__: null,

    typeError: (message) => new PlainTypeError(message),

    // The value that stands for a BigInt in JSON: that of its `toJSON`, if the script has given it one.
    jsonOfBigInt(value, key) {
      const { toJSON } = value;
      return typeof toJSON === "function" ? apply(toJSON, value, [key]) : value;
    },

    // The primitive that JSON.rawJSON made an object of; undefined for any other object.
    rawJson: (object) => (isRawJSON(object) ? parse(object.rawJSON) : undefined),

    toolError(message, name, code, retryable) {
      const error = new ToolError(message);
      if (name !== undefined) defineProperty(error, "name", hidden(name));
      if (code !== undefined) defineProperty(error, "code", shown(code));
      defineProperty(error, "retryable", shown(retryable));
      return error;
    },

    guard(target, refuse) {
      return new Proxy(freeze(target), {
        __proto__: null,
        get(target, key) {
          if (typeof key === "symbol" || key === "then" || key === "toJSON") return undefined;
          return hasOwn(target, key) ? target[key] : refuse(key);
        },
      });
    },
  };
})
