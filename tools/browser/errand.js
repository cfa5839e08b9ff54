// One question over a socket of its own, before anybody has said hello: signing in from outside of the world.

import { Refusal, LineLost } from "./connection.js";
import { decode, encode, SUBPROTOCOL } from "./protocol.js";

const ERRAND_MS = 20000; // a password is looked at in turn with those of others
const UNANSWERED = "The server did not answer. Look whether you are online, and try again.";

/** The result of its `ok`. Throws the Refusal. */
export function errand(url, name, fields) {
  const socket = new WebSocket(url, SUBPROTOCOL);
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    const lost = () => reject(new LineLost(UNANSWERED));
    const patience = setTimeout(lost, ERRAND_MS);
    socket.onopen = () => socket.send(encode(name, { request_id: 1, ...fields }));
    socket.onmessage = ({ data }) => {
      for (const message of decode(new Uint8Array(data))) {
        if (message.type === "ok") resolve(message.result);
        else if (message.type === "refused") reject(new Refusal(message));
        else if (message.type === "closing") reject(new LineLost(message.message));
      }
    };
    socket.onclose = () => {
      clearTimeout(patience);
      lost(); // nobody hears it where the answer came before
    };
  }).finally(() => socket.close());
}
