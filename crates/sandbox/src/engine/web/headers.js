// `Headers`, as https://fetch.spec.whatwg.org/#headers-class has it.
(function (primordials, natives, part) {
  "use strict";

  const { apply, getOwnPropertyDescriptor, iterator, ownKeys, setPrototypeOf, TypeError } = primordials;
  const { nameOf, valueOf, isBytes, sortedNames } = natives;
  const {
    arrayOf, callback, expose, iterable, iterate, iteratorClass, list, platformObject, required, toText,
  } = part("shared");

  const ENTRIES = 1, KEYS = 2, VALUES = 3;
  const PAIRS = "Headers needs pairs of a name and a value";
  const SET_COOKIE = "set-cookie";
  let itemOf, isHeaders, guard, valueIn, addTo, copied;

  // Converts to a text whose characters are bytes.
  function byteText(value) {
    const text = toText(value);
    if (!isBytes(text)) throw new TypeError("a header has a character that is no byte");
    return text;
  }

  function checkedName(text) {
    const name = nameOf(text);
    if (name === undefined) throw new TypeError("'" + text + "' is no name of a header");
    return name;
  }

  function checkedValue(text) {
    const value = valueOf(text);
    if (value === undefined) throw new TypeError("the value of a header has a forbidden character");
    return value;
  }

  class Headers {
    // Names in lower case and values by turns, in the order of their arrival.
    #list = list();
    // What an iteration shows, until the list changes.
    #shown = null;
    #isImmutable = false;

    static {
      isHeaders = (object) => typeof object === "object" && object !== null && #list in object;
      guard = (headers) => {
        headers.#isImmutable = true;
      };
      valueIn = (headers, name) => headers.#get(name);
      copied = (headers) => {
        const copy = new Headers();
        for (let index = 0; index < headers.#list.length; index++) copy.#list[index] = headers.#list[index];
        copy.#isImmutable = headers.#isImmutable;
        return copy;
      };
      addTo = (headers, name, value) => headers.#append(name, value);
      itemOf = (headers, index, kind) => {
        const sorted = headers.#sorted();
        const place = index * 2;
        if (place >= sorted.length) return undefined;
        if (kind === ENTRIES) return [sorted[place], sorted[place + 1]];
        return sorted[kind === KEYS ? place : place + 1];
      };
    }

    constructor(init = undefined) {
      if (init === undefined) return;
      if ((typeof init !== "object" && typeof init !== "function") || init === null) throw new TypeError(PAIRS);
      const method = init[iterator];
      const pairs = method === undefined || method === null ? fromRecord(init) : fromSequence(init, method);
      for (let index = 0; index < pairs.length; index += 2) this.#append(pairs[index], pairs[index + 1]);
    }

    append(name, value) {
      required(this.#list && arguments.length, 2, "append");
      name = byteText(name);
      this.#append(name, byteText(value));
    }

    delete(name) {
      required(this.#list && arguments.length, 1, "delete");
      const own = checkedName(byteText(name));
      this.#writable();
      this.#remove(own);
    }

    get(name) {
      required(this.#list && arguments.length, 1, "get");
      return this.#get(checkedName(byteText(name)));
    }

    getSetCookie() {
      return arrayOf(this.#all(SET_COOKIE));
    }

    has(name) {
      required(this.#list && arguments.length, 1, "has");
      return this.#get(checkedName(byteText(name))) !== null;
    }

    set(name, value) {
      required(this.#list && arguments.length, 2, "set");
      name = byteText(name);
      const text = byteText(value);
      const own = checkedName(name);
      const checked = checkedValue(text);
      this.#writable();
      const present = this.#list;
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] !== own) continue;
        present[index + 1] = checked;
        this.#removeFrom(own, index + 2);
        return;
      }
      this.#push(own, checked);
    }

    entries() {
      return new HeadersIterator(this, this.#list && ENTRIES);
    }

    forEach(act, thisArgument = undefined) {
      required(this.#list && arguments.length, 1, "forEach");
      callback(act, "forEach");
      for (let index = 0; ; index++) {
        const item = itemOf(this, index, ENTRIES);
        if (item === undefined) return;
        apply(act, thisArgument, [item[1], item[0], this]);
      }
    }

    keys() {
      return new HeadersIterator(this, this.#list && KEYS);
    }

    values() {
      return new HeadersIterator(this, this.#list && VALUES);
    }

    #append(name, value) {
      const checked = checkedValue(value);
      const own = checkedName(name);
      this.#writable();
      this.#push(own, checked);
    }

    #writable() {
      if (this.#isImmutable) throw new TypeError("the headers cannot be changed");
    }

    #push(name, value) {
      const present = this.#list;
      this.#shown = null;
      present[present.length] = name;
      present[present.length] = value;
    }

    #get(name) {
      const values = this.#all(name);
      return values.length === 0 ? null : combined(values);
    }

    #all(name) {
      const present = this.#list;
      const values = list();
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] === name) values[values.length] = present[index + 1];
      }
      return values;
    }

    #remove(name) {
      this.#removeFrom(name, 0);
    }

    #removeFrom(name, first) {
      const present = this.#list;
      const kept = list();
      for (let index = 0; index < present.length; index += 2) {
        if (index >= first && present[index] === name) continue;
        kept[kept.length] = present[index];
        kept[kept.length] = present[index + 1];
      }
      this.#list = kept;
      this.#shown = null;
    }

    // Names and values by turns: sorted, and the values of one name combined, but for cookies.
    #sorted() {
      if (this.#shown !== null) return this.#shown;
      const names = sortedNames(this.#list);
      const sorted = list();
      for (let index = 0; index < names.length; index++) {
        const values = this.#all(names[index]);
        const isCookie = names[index] === SET_COOKIE;
        for (let inner = 0; inner < (isCookie ? values.length : 1); inner++) {
          sorted[sorted.length] = names[index];
          sorted[sorted.length] = isCookie ? values[inner] : combined(values);
        }
      }
      this.#shown = sorted;
      return sorted;
    }
  }

  function combined(values) {
    let text = values[0];
    for (let index = 1; index < values.length; index++) text += ", " + values[index];
    return text;
  }

  function fromSequence(init, method) {
    const pairs = list();
    for (const pair of iterate(init, method, PAIRS)) {
      if ((typeof pair !== "object" && typeof pair !== "function") || pair === null) throw new TypeError(PAIRS);
      const items = list();
      for (const item of iterate(pair, pair[iterator], PAIRS)) items[items.length] = byteText(item);
      if (items.length !== 2) throw new TypeError(PAIRS);
      pairs[pairs.length] = items[0];
      pairs[pairs.length] = items[1];
    }
    return pairs;
  }

  function fromRecord(init) {
    const keys = ownKeys(init);
    const pairs = list();
    for (let index = 0; index < keys.length; index++) {
      const descriptor = getOwnPropertyDescriptor(init, keys[index]);
      if (descriptor === undefined) continue;
      setPrototypeOf(descriptor, null);
      if (!descriptor.enumerable) continue;
      pairs[pairs.length] = byteText(keys[index]);
      pairs[pairs.length] = byteText(init[keys[index]]);
    }
    return pairs;
  }

  const HeadersIterator = iteratorClass("Headers Iterator", itemOf);
  expose(Headers, "Headers");
  iterable(Headers, "entries");
  platformObject({ name: "Headers", is: isHeaders });

  return { __proto__: null, Headers, addTo, copied, guard, valueIn };
})
