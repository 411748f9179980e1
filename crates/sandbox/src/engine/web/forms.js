// `FormData`, as https://xhr.spec.whatwg.org/#interface-formdata has it, without forms.
(function (primordials, natives, part) {
  "use strict";

  const { apply, TypeError } = primordials;
  const {
    arrayOf, callback, expose, iterable, iteratorClass, list, platformObject, required, scalars,
  } = part("shared");
  const { isBlob, isFile, named } = part("blob");

  const ENTRIES = 1, KEYS = 2, VALUES = 3;
  let itemOf, isForm, entriesOf, addTo;

  class FormData {
    // Names and values by turns.
    #list = list();

    static {
      isForm = (object) => typeof object === "object" && object !== null && #list in object;
      entriesOf = (form) => form.#list;
      addTo = (form, name, value) => form.#push(name, value);
      itemOf = (form, index, kind) => {
        const place = index * 2;
        const present = form.#list;
        if (place >= present.length) return undefined;
        if (kind === ENTRIES) return [present[place], present[place + 1]];
        return present[kind === KEYS ? place : place + 1];
      };
    }

    constructor(form = undefined) {
      if (form !== undefined) throw new TypeError("there are no forms here");
    }

    append(name, value, filename = undefined) {
      required(this.#list && arguments.length, 2, "append");
      name = scalars(name);
      this.#push(name, valueOf(value, filename, arguments.length > 2));
    }

    delete(name) {
      required(this.#list && arguments.length, 1, "delete");
      name = scalars(name);
      this.#keep((own) => own !== name);
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

    has(name) {
      required(this.#list && arguments.length, 1, "has");
      name = scalars(name);
      const present = this.#list;
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] === name) return true;
      }
      return false;
    }

    set(name, value, filename = undefined) {
      required(this.#list && arguments.length, 2, "set");
      name = scalars(name);
      const entry = valueOf(value, filename, arguments.length > 2);
      const present = this.#list;
      for (let index = 0; index < present.length; index += 2) {
        if (present[index] !== name) continue;
        present[index + 1] = entry;
        let isFirst = true;
        this.#keep((own) => own !== name || (isFirst && !(isFirst = false)));
        return;
      }
      this.#push(name, entry);
    }

    entries() {
      return new FormIterator(this, this.#list && ENTRIES);
    }

    forEach(act, thisArgument = undefined) {
      required(this.#list && arguments.length, 1, "forEach");
      callback(act, "forEach");
      for (let index = 0; index < this.#list.length; index += 2) {
        apply(act, thisArgument, [this.#list[index + 1], this.#list[index], this]);
      }
    }

    keys() {
      return new FormIterator(this, this.#list && KEYS);
    }

    values() {
      return new FormIterator(this, this.#list && VALUES);
    }

    #push(name, value) {
      const present = this.#list;
      present[present.length] = name;
      present[present.length] = value;
    }

    #keep(isKept) {
      const present = this.#list;
      const kept = list();
      for (let index = 0; index < present.length; index += 2) {
        if (!isKept(present[index])) continue;
        kept[kept.length] = present[index];
        kept[kept.length] = present[index + 1];
      }
      this.#list = kept;
    }
  }

  // Returns the value of an entry: a text, or a File.
  function valueOf(value, filename, isNamed) {
    if (!isBlob(value)) {
      if (isNamed) throw new TypeError("only a Blob has a file name");
      return scalars(value);
    }
    if (isNamed && filename !== undefined) return named(value, scalars(filename));
    return isFile(value) ? value : named(value, "blob");
  }

  const FormIterator = iteratorClass("FormData Iterator", itemOf);
  expose(FormData, "FormData");
  iterable(FormData, "entries");
  platformObject({ name: "FormData", is: isForm });

  return { __proto__: null, FormData, addTo, entriesOf, isForm };
})
