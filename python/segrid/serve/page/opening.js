/** Opens images and videos: dropped, pasted, chosen, or named in the page's address. */

import { ApiError } from "./api.js";
import { ImageWork } from "./image_work.js";
import { forgetWork, keepToken, keptIds, keptToken } from "./stored.js";
import { VideoWork } from "./video_work.js";

const AGAIN = "Open the file again.";
const ERROR = { isError: true };
const VIDEO_ENDING = /\.(mp4|mov|m4v|webm|mkv|avi|mpe?g|ts)$/i;

export class Opening {
  #cancel = null; // of the upload that is under way

  /**
   * @param {object} parts file, loading, loadingText, loadingBar, tokenDialog, token: elements
   * @param {(work: import("./work.js").Work) => void} opened
   */
  constructor(parts, { api, messages, opened }) {
    Object.assign(this, { ...parts, api, messages, opened });
    this.file.addEventListener("change", () => {
      if (this.file.files.length) this.open(this.file.files[0]);
      this.file.value = ""; // so that the same file can be chosen again
    });
    this.#takeDrops();
    document.addEventListener("paste", (event) => {
      const [file] = event.clipboardData?.files ?? [];
      if (file) this.open(file);
    });
  }

  choose() {
    this.file.click();
  }

  async open(file) {
    const isVideo = file.type.startsWith("video/") || VIDEO_ENDING.test(file.name);
    this.#cancel?.abort();
    const cancel = new AbortController();
    this.#cancel = cancel;
    this.#showLoading(`Sending ${file.name}`);
    try {
      const work = await this.#withToken(async () => {
        const answer = await this.api.upload(isVideo ? "v1/sessions" : "v1/images", file, {
          progress: (part) => this.#showSent(part, isVideo),
          signal: cancel.signal,
        });
        return (isVideo ? VideoWork : ImageWork).opened(this.api, answer, file.name);
      });
      this.#take(work);
    } catch (error) {
      if (error.kind === "too_many_sessions") this.#offerRoom(error, file);
      else this.messages.report(error);
    } finally {
      if (this.#cancel === cancel) this.loading.hidden = true;
    }
  }

  /**
   * Opens what the address names: #image=ID or #session=ID; #token=TOKEN is kept and taken out.
   * @returns {Promise<boolean>} whether it names an image or a session
   */
  async openAddress() {
    const named = new URLSearchParams(location.hash.slice(1));
    if (named.has("token")) {
      keepToken(named.get("token"));
      named.delete("token");
      history.replaceState(null, "", `#${named}`);
    }
    this.api.token = keptToken();
    const kind = ["session", "image"].find((name) => named.has(name));
    if (!kind) return false;
    this.#showLoading("Opening");
    this.loadingBar.removeAttribute("value");
    try {
      this.#take(await this.#withToken(() => this.#found(kind, named.get(kind))));
    } catch (error) {
      const gone = error instanceof ApiError && error.status === 404;
      const what = kind === "image" ? "image" : "session";
      if (gone) this.messages.show(`The server no longer holds this ${what}. ${AGAIN}`, ERROR);
      else this.messages.report(error);
    } finally {
      this.loading.hidden = true;
    }
    return true;
  }

  async #found(kind, id) {
    const path = kind === "image" ? "images" : "sessions";
    const answer = await this.api.get(`v1/${path}/${encodeURIComponent(id)}`);
    return (kind === "image" ? ImageWork : VideoWork).opened(this.api, answer);
  }

  /** The address names the work, so that a reload keeps it and Back returns to the one before. */
  #take(work) {
    work.keep();
    const named = `#${work.isVideo ? "session" : "image"}=${work.id}`;
    if (location.hash !== named) history.pushState(null, "", named);
    this.opened(work);
  }

  /** The server has no room for a session more: offers to close the one opened here longest ago. */
  #offerRoom(error, file) {
    const [oldest] = keptIds("video");
    if (!oldest) {
      this.messages.report(error);
      return;
    }
    this.messages.show(error.message, {
      isError: true,
      action: "Close my oldest and try again",
      act: async () => {
        forgetWork(oldest);
        await this.api.delete(`v1/sessions/${oldest}`).catch(() => {}); // it may be gone already
        await this.open(file);
      },
    });
  }

  /** Asks for the token where the server wants one, and tries again. */
  async #withToken(action) {
    for (;;) {
      try {
        return await action();
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        const token = await this.#askToken();
        if (!token) throw error;
        keepToken(token);
        this.api.token = token;
      }
    }
  }

  #askToken() {
    this.token.value = "";
    this.tokenDialog.returnValue = "";
    this.tokenDialog.showModal();
    return new Promise((resolve) => {
      this.tokenDialog.addEventListener("close", () => resolve(this.token.value), { once: true });
    });
  }

  #showLoading(text) {
    this.loadingText.textContent = text;
    this.loadingBar.value = 0;
    this.loading.hidden = false;
  }

  #showSent(part, isVideo) {
    this.loadingBar.value = part;
    if (part < 1) return;
    this.loadingText.textContent = isVideo ? "The server reads the video" : "The model looks at it";
    this.loadingBar.removeAttribute("value");
  }

  #takeDrops() {
    let inside = 0; // dragenter and dragleave come for each element that is passed
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const show = () => document.body.classList.toggle("dropping", inside > 0);
    addEventListener("dragenter", (event) => {
      if (hasFiles(event)) inside += 1;
      show();
    });
    addEventListener("dragleave", (event) => {
      if (hasFiles(event)) inside -= 1;
      show();
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      inside = 0;
      show();
      const [file] = event.dataTransfer.files;
      if (file) this.open(file);
    });
  }
}
