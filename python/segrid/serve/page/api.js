/**
 * Calls to the server. A call that fails throws an ApiError, whose message a user can act on.
 */

/** @property {number} status of HTTP; 0 where the server did not answer */
export class ApiError extends Error {
  constructor(message, { status = 0, kind = "" } = {}) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

const NO_ANSWER = "The server does not answer. Check that it is running, then try again.";
const CANCELLED = "The call was cancelled.";
const BUSY_TRIES = 3; // how often a call is sent that the server has no room for
const LONGEST_WAIT_S = 10; // between two of these

export class Api {
  #token;

  /** @param {string} token of `segrid serve --token`; "" where the server has none */
  constructor(token = "") {
    this.#token = token;
  }

  set token(token) {
    this.#token = token;
  }

  get(path, options) {
    return this.#send("GET", path, options).then((answer) => answer.json());
  }

  post(path, body = {}, options) {
    return this.#send("POST", path, { ...options, body }).then((answer) => answer.json());
  }

  patch(path, body, options) {
    return this.#send("PATCH", path, { ...options, body }).then((answer) => answer.json());
  }

  async delete(path, options) {
    await this.#send("DELETE", path, options);
  }

  /** The answer as a Blob, for pictures and files. */
  blob(path, options) {
    return this.#send("GET", path, options).then((answer) => answer.blob());
  }

  /**
   * Sends a file as the body. fetch does not tell how much has been sent; XMLHttpRequest does.
   * @param {(part: number) => void} progress is called with the part that was sent, 0 to 1
   */
  upload(path, file, { progress, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", address(path));
      request.responseType = "text";
      for (const [name, value] of Object.entries(this.#headers())) {
        request.setRequestHeader(name, value);
      }
      // The content says what it is; the browser only guesses from the file's ending.
      const known = /^(image|video)\//.test(file.type);
      request.setRequestHeader("Content-Type", known ? file.type : "application/octet-stream");
      request.upload.onprogress = (event) => progress(event.loaded / (event.total || 1));
      request.onerror = () => reject(new ApiError(NO_ANSWER));
      request.onabort = () => reject(new DOMException(CANCELLED, "AbortError"));
      request.onload = () => {
        if (request.status < 300) resolve(JSON.parse(request.responseText));
        else reject(errorOf(request.status, request.responseText));
      };
      signal?.addEventListener("abort", () => request.abort(), { once: true });
      request.send(file);
    });
  }

  /**
   * The events of a job after the one numbered `after`, while the connection lasts.
   * @returns {AsyncGenerator<{id: number, event: string, data: any}>}
   */
  async *events(jobId, after, signal) {
    const path = `v1/jobs/${jobId}/events?after=${after}`;
    const answer = await this.#send("GET", path, { signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        throw error.name === "AbortError" ? error : new ApiError(NO_ANSWER);
      });
      if (done) return;
      const blocks = (waiting + value).split(/\r?\n\r?\n/);
      waiting = blocks.pop();
      for (const block of blocks) {
        const event = parsedEvent(block);
        if (event) yield event;
      }
    }
  }

  async #send(method, path, { body, signal } = {}) {
    const headers = this.#headers();
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const content = body === undefined ? undefined : JSON.stringify(body);
    for (let tries = 1; ; tries += 1) {
      const answer = await fetch(address(path), { method, headers, body: content, signal }).catch(
        (error) => {
          throw error.name === "AbortError" ? error : new ApiError(NO_ANSWER);
        },
      );
      if (answer.ok) return answer;
      if (answer.status !== 429 || tries === BUSY_TRIES) {
        throw errorOf(answer.status, await answer.text());
      }
      const wait = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => {
        setTimeout(resolve, 1000 * Math.min(wait, LONGEST_WAIT_S));
      });
    }
  }

  #headers() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }
}

/** Paths are relative to the page, which may stand below a prefix of a proxy. */
function address(path) {
  return new URL(path, document.baseURI);
}

function errorOf(status, text) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy in between may answer with a page of its own.
  }
  const message = error.message || `The server answered with status ${status}.`;
  return new ApiError(message, { status, kind: error.kind });
}

function parsedEvent(block) {
  const event = { id: 0, event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([a-z]*): ?(.*)$/.exec(line) ?? [];
    if (field === "id") event.id = Number(value);
    else if (field === "event") event.event = value;
    else if (field === "data") event.data += value;
  }
  return event.data ? { ...event, data: JSON.parse(event.data) } : null;
}
