// The door to the vendored @msgpack/msgpack (./msgpack/, as published): one name for those who import it.
export { Decoder, Encoder, decode, decodeMulti, encode } from "./msgpack/index.mjs";
