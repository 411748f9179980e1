// Methods of the objects through which `for await` and `yield*` of an async generator read a synchronous iterator.
//
// Evaluated once, in the zygote. Scripts see neither these objects nor these methods. Methods of the synchronous iterator
// are guest code and run inside, so everything else here is a primordial. `resolved` and `rejected` return promises, and
// `after` adds handlers to one; a script cannot change them, and they look at no property of a promise but `constructor`.
(function (iteratorOf, nextOf, resolved, rejected, after) {
  "use strict";

  const { apply, defineProperty } = Reflect;
  const Refusal = TypeError;

  function checked(result) {
    if ((typeof result !== "object" || result === null) && typeof result !== "function") {
      throw new Refusal("iterator must return an object");
    }
    return result;
  }

  function close(iterator) {
    const method = iterator.return;
    if (method !== undefined && method !== null) checked(apply(method, iterator, []));
  }

  function closeAfterFailure(iterator) {
    try {
      const method = iterator.return;
      if (method !== undefined && method !== null) apply(method, iterator, []);
    } catch {
      // The first failure counts.
    }
  }

  // The engine's `for await` calls `return` after a failed step, which the language does not.
  const hideReturn = (object) => defineProperty(object, "return", { __proto__: null, value: undefined });

  const going = (value) => ({ value, done: false });
  const over = (value) => ({ value, done: true });

  return {
    __proto__: null,

    next(given) {
      const iterator = iteratorOf(this);
      let isOpen = false;
      try {
        const next = nextOf(this);
        const result = checked(apply(next, iterator, arguments.length === 0 ? [] : [given]));
        const done = !!result.done;
        const value = result.value;
        isOpen = !done;
        return after(resolved(value), done ? over : going, (reason) => {
          hideReturn(this);
          if (!done) closeAfterFailure(iterator);
          throw reason;
        });
      } catch (reason) {
        hideReturn(this);
        if (isOpen) closeAfterFailure(iterator);
        return rejected(reason);
      }
    },

    return(given) {
      try {
        const iterator = iteratorOf(this);
        const method = iterator.return;
        if (method === undefined || method === null) return resolved({ value: given, done: true });
        const result = checked(apply(method, iterator, arguments.length === 0 ? [] : [given]));
        const done = !!result.done;
        return after(resolved(result.value), done ? over : going);
      } catch (reason) {
        return rejected(reason);
      }
    },

    throw(reason) {
      const iterator = iteratorOf(this);
      let isOpen = false;
      try {
        const method = iterator.throw;
        if (method === undefined || method === null) {
          close(iterator);
          throw new Refusal("throw is not a method");
        }
        const result = checked(apply(method, iterator, arguments.length === 0 ? [] : [reason]));
        const done = !!result.done;
        const value = result.value;
        isOpen = !done;
        return after(resolved(value), done ? over : going, (failure) => {
          if (!done) closeAfterFailure(iterator);
          throw failure;
        });
      } catch (failure) {
        if (isOpen) closeAfterFailure(iterator);
        return rejected(failure);
      }
    },
  };
})
