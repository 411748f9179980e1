// `URL` and `URLSearchParams`, as https://url.spec.whatwg.org/ has them.
(function (primordials, natives, part) {
  "use strict";

  const { apply, getOwnPropertyDescriptor, iterator, ownKeys, setPrototypeOf, TypeError } = primordials;
  const { parse, parseQuery, replaceQuery, serializeQuery, set, sorted, split } = natives;
  const {
    arrayOf, callback, expose, iterable, iterate, iteratorClass, list, platformObject, required, scalars, toText,
  } = part("shared");

  // The parts of a URL in the order of `PARTS` in url.rs.
  const PROTOCOL = 0, USERNAME = 1, PASSWORD = 2, HOST = 3, HOSTNAME = 4, PORT = 5, PATHNAME = 6, SEARCH = 7, HASH = 8,
    ORIGIN = 9;
  // Units of a text that a message shows.
  const SHOWN_MAX = 100;

  const ENTRIES = 1, KEYS = 2, VALUES = 3;
  let queryOf, listOf, itemOf, isUrl, isParams, pairsOf;

  function invalid(text) {
    let shown = "";
    for (let index = 0; index < text.length && index < SHOWN_MAX; index++) shown += text[index];
    return new TypeError("Invalid URL: '" + shown + (text.length > SHOWN_MAX ? "…" : "") + "'");
  }

  class URL {
    // The serialisation.
    #href;
    // The parts of the serialisation, once one was read.
    #parts = null;
    #params = null;

    static {
      // The query of `params` has changed.
      isUrl = (object) => #href in object;
      queryOf = (url, query) => url.#change(replaceQuery(url.#href, query));
    }

    constructor(url, base = undefined) {
      required(arguments.length, 1, "URL");
      const text = toText(url);
      const href = parse(text, base === undefined ? undefined : toText(base));
      if (href === undefined) throw invalid(text);
      this.#href = href;
    }

    static parse(url, base = undefined) {
      required(arguments.length, 1, "URL.parse");
      const href = parse(toText(url), base === undefined ? undefined : toText(base));
      return href === undefined ? null : new URL(href);
    }

    static canParse(url, base = undefined) {
      required(arguments.length, 1, "URL.canParse");
      return parse(toText(url), base === undefined ? undefined : toText(base)) !== undefined;
    }

    #change(href) {
      this.#href = href;
      this.#parts = null;
    }

    #get(part) {
      if (this.#parts === null) this.#parts = split(this.#href);
      return this.#parts[part];
    }

    #set(part, value) {
      this.#change(set(this.#href, part, toText(value)));
    }

    #updateParams() {
      if (this.#params !== null) listOf(this.#params, parseQuery(this.#get(SEARCH)));
    }

    get href() {
      return this.#href;
    }
    set href(value) {
      const text = toText(value);
      const href = parse(text, undefined);
      if (href === undefined) throw invalid(text);
      this.#change(href);
      this.#updateParams();
    }
    get origin() {
      return this.#get(ORIGIN);
    }
    get protocol() {
      return this.#get(PROTOCOL);
    }
    set protocol(value) {
      this.#set(PROTOCOL, value);
    }
    get username() {
      return this.#get(USERNAME);
    }
    set username(value) {
      this.#set(USERNAME, value);
    }
    get password() {
      return this.#get(PASSWORD);
    }
    set password(value) {
      this.#set(PASSWORD, value);
    }
    get host() {
      return this.#get(HOST);
    }
    set host(value) {
      this.#set(HOST, value);
    }
    get hostname() {
      return this.#get(HOSTNAME);
    }
    set hostname(value) {
      this.#set(HOSTNAME, value);
    }
    get port() {
      return this.#get(PORT);
    }
    set port(value) {
      this.#set(PORT, value);
    }
    get pathname() {
      return this.#get(PATHNAME);
    }
    set pathname(value) {
      this.#set(PATHNAME, value);
    }
    get search() {
      return this.#get(SEARCH);
    }
    set search(value) {
      this.#set(SEARCH, value);
      this.#updateParams();
    }
    get searchParams() {
      if (this.#params === null) {
        const params = new URLSearchParams();
        listOf(params, parseQuery(this.#get(SEARCH)), this);
        this.#params = params;
      }
      return this.#params;
    }
    get hash() {
      return this.#get(HASH);
    }
    set hash(value) {
      this.#set(HASH, value);
    }

    toString() {
      return this.#href;
    }

    toJSON() {
      return this.#href;
    }
  }

  const PAIRS = "URLSearchParams needs pairs of a name and a value";

  class URLSearchParams {
    // Names and values by turns.
    #list = list();
    #url = null;

    static {
      isParams = (object) => typeof object === "object" && object !== null && #list in object;
      pairsOf = (params) => params.#list;
      listOf = (params, list, url) => {
        params.#list = list;
        if (url !== undefined) params.#url = url;
      };
    }

    constructor(init = "") {
      const isObject = (typeof init === "object" && init !== null) || typeof init === "function";
      if (!isObject) {
        this.#list = parseQuery(toText(init));
        return;
      }
      const method = init[iterator];
      if (method === undefined || method === null) this.#fillFromRecord(init);
      else this.#fillFromSequence(init, method);
    }

    #fillFromSequence(init, method) {
      const pairs = list();
      for (const pair of iterate(init, method, PAIRS)) {
        if ((typeof pair !== "object" && typeof pair !== "function") || pair === null) throw new TypeError(PAIRS);
        const items = list();
        for (const item of iterate(pair, pair[iterator], PAIRS)) items[items.length] = scalars(item);
        pairs[pairs.length] = items;
      }
      for (let index = 0; index < pairs.length; index++) {
        if (pairs[index].length !== 2) throw new TypeError(PAIRS);
        this.#push(pairs[index][0], pairs[index][1]);
      }
    }

    #fillFromRecord(init) {
      const keys = ownKeys(init);
      const places = { __proto__: null };
      for (let index = 0; index < keys.length; index++) {
        const descriptor = getOwnPropertyDescriptor(init, keys[index]);
        if (descriptor === undefined) continue;
        setPrototypeOf(descriptor, null);
        if (!descriptor.enumerable) continue;
        const name = scalars(keys[index]);
        const value = scalars(init[keys[index]]);
        // Two names may differ in lone surrogates only.
        if (places[name] !== undefined) {
          this.#list[places[name]] = value;
          continue;
        }
        places[name] = this.#list.length + 1;
        this.#push(name, value);
      }
    }

    #push(name, value) {
      const list = this.#list;
      list[list.length] = name;
      list[list.length] = value;
    }

    // Keeps the pairs for which `isKept` returns true.
    #keep(isKept) {
      const present = this.#list;
      const kept = list();
      for (let index = 0; index < present.length; index += 2) {
        if (!isKept(present[index], present[index + 1])) continue;
        kept[kept.length] = present[index];
        kept[kept.length] = present[index + 1];
      }
      this.#list = kept;
    }

    #update() {
      if (this.#url !== null) queryOf(this.#url, serializeQuery(this.#list));
    }

    get size() {
      return this.#list.length / 2;
    }

    append(name, value) {
      required(this.#list && arguments.length, 2, "append");
      name = scalars(name);
      value = scalars(value);
      this.#push(name, value);
      this.#update();
    }

    delete(name, value = undefined) {
      required(this.#list && arguments.length, 1, "delete");
      name = scalars(name);
      if (value !== undefined) value = scalars(value);
      this.#keep((own, of) => own !== name || (value !== undefined && of !== value));
      this.#update();
    }

    get(name) {
      required(this.#list && arguments.length, 1, "get");
      name = scalars(name);
      const present = this.#list;
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] === name) return present[index + 1];
      }
      return null;
    }

    getAll(name) {
      required(this.#list && arguments.length, 1, "getAll");
      name = scalars(name);
      const present = this.#list;
      const found = list();
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] === name) found[found.length] = present[index + 1];
      }
      return arrayOf(found);
    }

    has(name, value = undefined) {
      required(this.#list && arguments.length, 1, "has");
      name = scalars(name);
      if (value !== undefined) value = scalars(value);
      const present = this.#list;
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] === name && (value === undefined || present[index + 1] === value)) return true;
      }
      return false;
    }

    set(name, value) {
      required(this.#list && arguments.length, 2, "set");
      name = scalars(name);
      value = scalars(value);
      let isSet = false;
      const present = this.#list;
      for (let index = 0; index < present.length && !isSet; index += 2) {
        if (present[index] !== name) continue;
        present[index + 1] = value;
        isSet = true;
      }
      if (isSet) {
        // The first pair of the name stays, with the new value.
        let isFirst = true;
        this.#keep((own) => own !== name || (isFirst && !(isFirst = false)));
      } else {
        this.#push(name, value);
      }
      this.#update();
    }

    sort() {
      this.#list = sorted(this.#list);
      this.#update();
    }

    toString() {
      return serializeQuery(this.#list);
    }

    entries() {
      return new ParamsIterator(this, this.#list && ENTRIES);
    }

    forEach(act, thisArgument = undefined) {
      required(this.#list && arguments.length, 1, "forEach");
      callback(act, "forEach");
      for (let index = 0; index < this.#list.length; index += 2) {
        apply(act, thisArgument, [this.#list[index + 1], this.#list[index], this]);
      }
    }

    keys() {
      return new ParamsIterator(this, this.#list && KEYS);
    }

    values() {
      return new ParamsIterator(this, this.#list && VALUES);
    }

    static {
      itemOf = (params, index, kind) => {
        const place = index * 2;
        const present = params.#list;
        if (place >= present.length) return undefined;
        if (kind === ENTRIES) return [present[place], present[place + 1]];
        return present[kind === KEYS ? place : place + 1];
      };
    }
  }

  const ParamsIterator = iteratorClass("URLSearchParams Iterator", itemOf);
  expose(URL, "URL");
  expose(URLSearchParams, "URLSearchParams");
  iterable(URLSearchParams, "entries");
  platformObject({ name: "URL", is: isUrl });
  platformObject({ name: "URLSearchParams", is: isParams });

  // What other parts need of URLs: parsing, and the text of parameters.
  const textOf = (params) => serializeQuery(pairsOf(params));

  return { __proto__: null, URL, URLSearchParams, isParams, parse, parseQuery, split, textOf };
})
