// `MessageChannel`, `MessagePort` and `MessageEvent`, as https://html.spec.whatwg.org/#channel-messaging has them. Both
// ends of a channel are in one script.
(function (primordials, natives, part) {
  "use strict";

  const { iterator, TypeError, DOMException } = primordials;
  const { soon } = natives;
  const { arrayOf, dictionary, expose, iterate, list, platformObject, required, scalars, toText } = part("shared");
  const { Event, EventTarget, fireEvent, handlerOf, initialize, stateOf } = part("events");
  const { deserialize, sequenceOf, serialize } = part("clone");

  const SECRET = {};
  const NO_PORTS = "ports must be a sequence of MessagePorts";
  let portStateOf, isPort, detach, isChannel, messageOf;
  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  class MessageEvent extends Event {
    #data = null;
    #origin = "";
    #lastEventId = "";
    #source = null;
    #ports;

    constructor(type, eventInitDict = undefined) {
      required(arguments.length, 1, "MessageEvent");
      super(type, eventInitDict);
      const init = dictionary(eventInitDict, "the second argument of MessageEvent");
      this.#ports = arrayOf(list());
      if (init === null) return;
      const { data, lastEventId, origin, ports, source } = init;
      if (data !== undefined) this.#data = data;
      if (lastEventId !== undefined) this.#lastEventId = toText(lastEventId);
      if (origin !== undefined) this.#origin = scalars(origin);
      if (ports !== undefined) this.#ports = arrayOf(portsOf(ports));
      if (source === undefined || source === null) return;
      if (!isPort(source)) throw new TypeError("source must be a MessagePort");
      this.#source = source;
    }

    static {
      messageOf = (data, ports) => {
        const event = new MessageEvent("message");
        event.#data = data;
        event.#ports = arrayOf(ports);
        return event;
      };
    }

    get data() {
      return this.#data;
    }
    get origin() {
      return this.#origin;
    }
    get lastEventId() {
      return this.#lastEventId;
    }
    get source() {
      return this.#source;
    }
    get ports() {
      return this.#ports;
    }

    initMessageEvent(type, bubbles = false, cancelable = false, data = null, origin = "", lastEventId = "", source = null,
      ports = undefined) {
      required(this.#ports && arguments.length, 1, "initMessageEvent");
      initialize(stateOf(this), toText(type), !!bubbles, !!cancelable);
      this.#data = data;
      this.#origin = scalars(origin);
      this.#lastEventId = toText(lastEventId);
      this.#source = source;
      this.#ports = arrayOf(ports === undefined ? list() : portsOf(ports));
    }
  }

  function portsOf(value) {
    const ports = list();
    if (!isObject(value)) throw new TypeError(NO_PORTS);
    for (const port of iterate(value, value[iterator], NO_PORTS)) {
      if (!isPort(port)) throw new TypeError(NO_PORTS);
      ports[ports.length] = port;
    }
    return ports;
  }

  class MessagePort extends EventTarget {
    // What is on this end of the channel; it moves to another object when the port is transferred.
    #state;
    #message = null;
    #messageError = null;

    static {
      portStateOf = (port) => port.#state;
      isPort = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(secret = undefined, state = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      super();
      this.#state = state;
      state.object = this;
    }

    postMessage(message, transferOrOptions = undefined) {
      const state = this.#state;
      required(arguments.length, 1, "postMessage");
      post(state, this, message, objectsOf(transferOrOptions));
    }

    start() {
      start(this.#state);
    }

    close() {
      close(this.#state);
    }

    get onmessage() {
      return this.#message === null ? null : this.#message.handler;
    }
    set onmessage(value) {
      this.#message = handlerOf(this, "message", value, this.#message);
      start(this.#state);
    }
    get onmessageerror() {
      return this.#messageError === null ? null : this.#messageError.handler;
    }
    set onmessageerror(value) {
      this.#messageError = handlerOf(this, "messageerror", value, this.#messageError);
    }

    static {
      detach = (port) => {
        const state = port.#state;
        port.#state = newState();
        port.#state.isDetached = true;
        return state;
      };
    }
  }

  // The second argument of `postMessage`: a sequence, or options with one.
  function objectsOf(value) {
    if (value === undefined || value === null) return list();
    if (!isObject(value)) throw new TypeError("the second argument of postMessage must be an object");
    if (value[iterator] !== undefined && value[iterator] !== null) return sequenceOf(value);
    const { transfer } = value;
    return transfer === undefined ? list() : sequenceOf(transfer);
  }

  const newState = () => ({
    __proto__: null, object: undefined, other: undefined, isStarted: false, isClosed: false, isDetached: false, waiting: list(),
  });

  function post(state, port, message, objects) {
    for (let index = 0; index < objects.length; index++) {
      if (objects[index] === port) throw new DOMException("a port cannot be sent through itself", "DataCloneError");
    }
    const { other } = state;
    let isDoomed = false;
    for (let index = 0; index < objects.length; index++) {
      if (isPort(objects[index]) && portStateOf(objects[index]) === other) isDoomed = true;
    }
    const serialized = serialize(message, objects);
    if (other === undefined || isDoomed) return;
    const ports = list();
    for (let index = 0; index < serialized.transferred; index++) {
      if (isPort(serialized.records[index].made)) ports[ports.length] = serialized.records[index].made;
    }
    const entry = { __proto__: null, serialized, ports };
    if (other.isStarted) deliver(other, entry);
    else other.waiting[other.waiting.length] = entry;
  }

  // Delivers a message in a task of its own.
  function deliver(state, { serialized, ports }) {
    soon(() => {
      if (state.isClosed) return;
      const target = state.object;
      let event;
      try {
        event = messageOf(deserialize(serialized), ports);
      } catch {
        event = new MessageEvent("messageerror");
      }
      fireEvent(target, event);
    });
  }

  function start(state) {
    if (state.isStarted) return;
    state.isStarted = true;
    const { waiting } = state;
    state.waiting = list();
    for (let index = 0; index < waiting.length; index++) deliver(state, waiting[index]);
  }

  function close(state) {
    const { other } = state;
    state.isClosed = true;
    state.other = undefined;
    if (other !== undefined) other.other = undefined;
  }

  class MessageChannel {
    #port1;
    #port2;

    static {
      isChannel = (object) => #port1 in object;
    }

    constructor() {
      const one = newState();
      const two = newState();
      one.other = two;
      two.other = one;
      this.#port1 = new MessagePort(SECRET, one);
      this.#port2 = new MessagePort(SECRET, two);
    }

    get port1() {
      return this.#port1;
    }
    get port2() {
      return this.#port2;
    }
  }

  expose(MessageEvent, "MessageEvent");
  expose(MessagePort, "MessagePort");
  expose(MessageChannel, "MessageChannel");
  platformObject({ name: "MessageChannel", is: isChannel });
  platformObject({
    name: "MessagePort",
    is: isPort,
    isDetached: (port) => portStateOf(port).isDetached,
    transfer(port) {
      const state = detach(port);
      if (state.isClosed) throw new DOMException("the port is closed", "DataCloneError");
      // The new object is not started, whatever the old one was.
      state.isStarted = false;
      return new MessagePort(SECRET, state);
    },
  });

  return { __proto__: null, MessageChannel, MessageEvent, MessagePort };
})
