/** What the page tells: errors as text that stays until it is closed, news for screen readers. */

const GONE = "The server no longer holds this: it was idle for too long. Open the file again.";

export class Messages {
  /**
   * @param {HTMLElement} list takes errors and hints; a live region
   * @param {HTMLElement} status takes news; a polite live region and the line below the picture
   */
  constructor(list, status) {
    this.list = list;
    this.status = status;
  }

  say(text) {
    this.status.textContent = text;
  }

  /** Shows an error. What was cancelled by the user is none. */
  report(error) {
    if (error.name === "AbortError") return;
    if (!("status" in error)) console.error(error); // a fault of the page itself
    this.show(error.status === 404 ? GONE : error.message, { isError: true });
  }

  /**
   * @param {{isError?: boolean, action?: string, act?: () => void}} options text of a button, and
   *   what it does
   */
  show(text, { isError = false, action = "", act = () => {} } = {}) {
    this.drop(text);
    const message = document.createElement("div");
    message.className = isError ? "message error" : "message";
    message.dataset.text = text;
    const words = document.createElement("p");
    words.textContent = text;
    message.append(words);
    if (action) message.append(this.#button(action, "", message, act));
    message.append(this.#button("×", "Close this message", message, () => {}));
    this.list.append(message);
    while (this.list.children.length > 3) this.list.firstChild.remove();
    return message;
  }

  drop(text) {
    for (const shown of [...this.list.children]) {
      if (shown.dataset.text === text) shown.remove();
    }
  }

  #button(text, label, message, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    if (label) button.setAttribute("aria-label", label);
    button.addEventListener("click", () => {
      message.remove();
      act();
    });
    return button;
  }
}
