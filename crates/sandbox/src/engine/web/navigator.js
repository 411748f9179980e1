// `navigator`, of which https://min-common-api.proposal.wintertc.org/ has `userAgent`.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError } = primordials;
  const { expose } = part("shared");
  const { userAgent } = natives;
  const SECRET = {};

  class Navigator {
    #userAgent = userAgent();

    constructor(secret = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
    }

    get userAgent() {
      return this.#userAgent;
    }
  }

  expose(Navigator, "Navigator");

  return { __proto__: null, navigator: new Navigator(SECRET), Navigator };
})
