// `Event`, `EventTarget` and their kin, as https://dom.spec.whatwg.org/#events has them. There is no tree: the path of an
// event is its target alone.
(function (primordials, natives, part) {
  "use strict";

  const {
    apply, defineProperty, deleteProperty, getOwnPropertyDescriptor, global, lazyTarget, Object, Performance, performance,
    performanceNow, performancePrototype, setPrototypeOf, DOMException, TypeError,
  } = primordials;
  const { arrayOf, constant, define, dictionary, expose, list, platformObject, required, toText } = part("shared");

  const NONE = 0, CAPTURING_PHASE = 1, AT_TARGET = 2, BUBBLING_PHASE = 3;
  let stateOf, listenersOf, isEvent, isTarget;

  // What the part of AbortSignal puts here.
  const signals = { __proto__: null, isSignal: () => false, isAborted: undefined, whenAborted: undefined };

  const trusted = getOwnPropertyDescriptor({
    get isTrusted() {
      return stateOf(this).isTrusted;
    },
  }, "isTrusted").get;
  const unforgeable = { __proto__: null, get: trusted, set: undefined, enumerable: true, configurable: false };

  class Event {
    #state;

    static {
      stateOf = (event) => event.#state;
      isEvent = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(type, eventInitDict = undefined) {
      required(arguments.length, 1, "Event");
      type = toText(type);
      const init = dictionary(eventInitDict, "the second argument of Event");
      this.#state = {
        __proto__: null,
        type,
        bubbles: init !== null && !!init.bubbles,
        cancelable: init !== null && !!init.cancelable,
        composed: init !== null && !!init.composed,
        target: null,
        currentTarget: null,
        phase: NONE,
        isTrusted: false,
        isInitialized: true,
        isDispatched: false,
        isStopped: false,
        isStoppedAtOnce: false,
        isCanceled: false,
        isInPassiveListener: false,
        time: apply(performanceNow, performance, []),
      };
      defineProperty(this, "isTrusted", unforgeable);
    }

    get type() {
      return this.#state.type;
    }
    get target() {
      return this.#state.target;
    }
    get srcElement() {
      return this.#state.target;
    }
    get currentTarget() {
      return this.#state.currentTarget;
    }
    composedPath() {
      const path = list();
      if (this.#state.currentTarget !== null) path[0] = this.#state.currentTarget;
      return arrayOf(path);
    }
    get eventPhase() {
      return this.#state.phase;
    }
    stopPropagation() {
      this.#state.isStopped = true;
    }
    get cancelBubble() {
      return this.#state.isStopped;
    }
    set cancelBubble(value) {
      if (value) this.#state.isStopped = true;
      else this.#state;
    }
    stopImmediatePropagation() {
      this.#state.isStopped = true;
      this.#state.isStoppedAtOnce = true;
    }
    get bubbles() {
      return this.#state.bubbles;
    }
    get cancelable() {
      return this.#state.cancelable;
    }
    get returnValue() {
      return !this.#state.isCanceled;
    }
    set returnValue(value) {
      if (!value) cancel(this.#state);
      else this.#state;
    }
    preventDefault() {
      cancel(this.#state);
    }
    get defaultPrevented() {
      return this.#state.isCanceled;
    }
    get composed() {
      return this.#state.composed;
    }
    get timeStamp() {
      return this.#state.time;
    }
    initEvent(type, bubbles = false, cancelable = false) {
      required(this.#state && arguments.length, 1, "initEvent");
      initialize(this.#state, toText(type), !!bubbles, !!cancelable);
    }
  }

  function cancel(state) {
    if (state.cancelable && !state.isInPassiveListener) state.isCanceled = true;
  }

  function initialize(state, type, bubbles, cancelable) {
    if (state.isDispatched) return false;
    state.isInitialized = true;
    state.isStopped = state.isStoppedAtOnce = state.isCanceled = false;
    state.isTrusted = false;
    state.target = null;
    state.type = type;
    state.bubbles = bubbles;
    state.cancelable = cancelable;
    return true;
  }

  class CustomEvent extends Event {
    #detail;

    constructor(type, eventInitDict = undefined) {
      required(arguments.length, 1, "CustomEvent");
      super(type, eventInitDict);
      const detail = eventInitDict === undefined || eventInitDict === null ? undefined : eventInitDict.detail;
      this.#detail = detail === undefined ? null : detail;
    }

    get detail() {
      return this.#detail;
    }

    initCustomEvent(type, bubbles = false, cancelable = false, detail = null) {
      required(stateOf(this) && arguments.length, 1, "initCustomEvent");
      this.#detail;
      if (initialize(stateOf(this), toText(type), !!bubbles, !!cancelable)) this.#detail = detail;
    }
  }

  // The listeners of the targets that no constructor has made.
  const globalListeners = list(), performanceListeners = list();

  class EventTarget {
    #listeners = list();

    static {
      listenersOf = (target) => {
        if (target === undefined || target === null || target === global) return globalListeners;
        return target === performance ? performanceListeners : target.#listeners;
      };
      isTarget = (object) => #listeners in object || object === global || object === performance;
    }

    addEventListener(type, callback, options = undefined) {
      const listeners = listenersOf(this);
      required(arguments.length, 2, "addEventListener");
      type = toText(type);
      callback = callbackOf(callback);
      const { capture, once, passive, signal } = optionsOf(options);
      if (signal !== null && signals.isAborted(signal)) return;
      if (callback === null || find(listeners, type, callback, capture) >= 0) return;
      const listener = {
        __proto__: null, type, callback, capture, once, passive, isRemoved: false,
      };
      add(listeners, listener);
      if (signal !== null) signals.whenAborted(signal, () => remove(listeners, listener));
    }

    removeEventListener(type, callback, options = undefined) {
      const listeners = listenersOf(this);
      required(arguments.length, 2, "removeEventListener");
      type = toText(type);
      callback = callbackOf(callback);
      const isObject = (typeof options === "object" && options !== null) || typeof options === "function";
      const capture = isObject ? !!options.capture : !!options;
      const place = find(listeners, type, callback, capture);
      if (place >= 0) remove(listeners, listeners[place]);
    }

    dispatchEvent(event) {
      required(listenersOf(this) && arguments.length, 1, "dispatchEvent");
      if (!isEvent(event)) throw new TypeError("dispatchEvent needs an Event");
      const state = stateOf(event);
      if (state.isDispatched || !state.isInitialized) {
        throw new DOMException("the event is being dispatched already", "InvalidStateError");
      }
      state.isTrusted = false;
      return dispatch(this === undefined || this === null ? global : this, event, state);
    }
  }

  function add(listeners, listener) {
    listeners[listeners.length] = listener;
    // From now on the engine must ask before it ends the execution because of an exception.
    if (listeners === globalListeners) part("reports").watch();
  }

  function callbackOf(callback) {
    if (callback === undefined || callback === null) return null;
    if (typeof callback === "function" || typeof callback === "object") return callback;
    throw new TypeError("a listener must be a function or an object");
  }

  function optionsOf(options) {
    const isObject = (typeof options === "object" && options !== null) || typeof options === "function";
    const flat = { __proto__: null, capture: !isObject && !!options, once: false, passive: false, signal: null };
    if (!isObject) return flat;
    flat.capture = !!options.capture;
    flat.once = !!options.once;
    flat.passive = !!options.passive;
    const { signal } = options;
    if (signal === undefined) return flat;
    if (!signals.isSignal(signal)) throw new TypeError("signal must be an AbortSignal");
    flat.signal = signal;
    return flat;
  }

  function find(listeners, type, callback, capture) {
    for (let index = 0; index < listeners.length; index++) {
      const listener = listeners[index];
      if (listener.type === type && listener.callback === callback && listener.capture === capture) return index;
    }
    return -1;
  }

  function remove(listeners, listener) {
    listener.isRemoved = true;
    let length = 0;
    for (let index = 0; index < listeners.length; index++) {
      if (listeners[index] !== listener) listeners[length++] = listeners[index];
    }
    listeners.length = length;
  }

  function dispatch(target, event, state) {
    state.isDispatched = true;
    state.target = target;
    invoke(target, event, state, true);
    invoke(target, event, state, false);
    state.phase = NONE;
    state.currentTarget = null;
    state.isDispatched = state.isStopped = state.isStoppedAtOnce = false;
    return !state.isCanceled;
  }

  function invoke(target, event, state, capture) {
    if (state.isStopped) return;
    const listeners = listenersOf(target);
    const present = list();
    for (let index = 0; index < listeners.length; index++) present[index] = listeners[index];
    state.phase = AT_TARGET;
    state.currentTarget = target;
    for (let index = 0; index < present.length; index++) {
      const listener = present[index];
      if (listener.isRemoved || listener.type !== state.type || listener.capture !== capture) continue;
      if (listener.once) remove(listeners, listener);
      state.isInPassiveListener = listener.passive;
      try {
        callListener(listener.callback, target, event);
      } catch (error) {
        part("reports").report(error);
      }
      state.isInPassiveListener = false;
      if (state.isStoppedAtOnce) return;
    }
  }

  function callListener(callback, target, event) {
    if (typeof callback === "function") {
      apply(callback, target, [event]);
      return;
    }
    const handle = callback.handleEvent;
    if (typeof handle !== "function") throw new TypeError("the listener has no function handleEvent");
    apply(handle, callback, [event]);
  }

  // Fires an event of the platform's own. Returns false if a listener has canceled the event.
  const fire = (target, type) => fireEvent(target, new Event(type));

  function fireEvent(target, event) {
    const state = stateOf(event);
    state.isTrusted = true;
    return dispatch(target, event, state);
  }

  // Returns whether the global object has a listener of this type.
  function globalHas(type) {
    for (let index = 0; index < globalListeners.length; index++) {
      if (globalListeners[index].type === type) return true;
    }
    return false;
  }

  // Calls the handler of an event handler attribute. Returns whether the event is canceled by it.
  const callHandler = (handler, target, event) => apply(handler, target, [event]) === false;

  // Sets the handler of an event handler attribute. `present` is what an earlier call returned, or null.
  function handlerOf(target, type, value, present, call = callHandler) {
    const handler = typeof value === "function" || (typeof value === "object" && value !== null) ? value : null;
    if (present !== null) {
      if (handler === null) {
        remove(listenersOf(target), present.listener);
        return null;
      }
      present.handler = handler;
      return present;
    }
    if (handler === null) return null;
    const entry = { __proto__: null, handler, listener: undefined };
    const callback = function (event) {
      if (typeof entry.handler === "function" && call(entry.handler, this, event)) cancel(stateOf(event));
    };
    entry.listener = {
      __proto__: null, type, callback, capture: false, once: false, passive: false, isRemoved: false,
    };
    add(listenersOf(target), entry.listener);
    return entry;
  }

  expose(Event, "Event");
  expose(CustomEvent, "CustomEvent");
  expose(EventTarget, "EventTarget");
  for (let index = 0; index < 2; index++) {
    const object = index === 0 ? Event : Event.prototype;
    constant(object, "NONE", NONE);
    constant(object, "CAPTURING_PHASE", CAPTURING_PHASE);
    constant(object, "AT_TARGET", AT_TARGET);
    constant(object, "BUBBLING_PHASE", BUBBLING_PHASE);
  }
  platformObject({ name: "Event", is: isEvent });
  platformObject({ name: "EventTarget", is: isTarget });

  // The global object and `performance` have inherited accessors of these names until now.
  const { addEventListener, dispatchEvent, removeEventListener } = EventTarget.prototype;
  const methods = { __proto__: null, addEventListener, dispatchEvent, removeEventListener };
  for (const name in methods) deleteProperty(lazyTarget, name);
  define(lazyTarget, "constructor", Object, false, true);
  setPrototypeOf(lazyTarget, EventTarget.prototype);
  setPrototypeOf(performancePrototype, EventTarget.prototype);
  setPrototypeOf(Performance, EventTarget);

  return {
    __proto__: null, Event, CustomEvent, EventTarget, Performance, fire, fireEvent, globalHas, handlerOf, initialize,
    isEvent, methods, signals, stateOf,
  };
})
