// SPDX-License-Identifier: GPL-2.0

package rust_ipc;

/** A digest in the making. */
interface IStream {
    /** Adds to it. Returns when the bytes are in. */
    void write(in byte[] bytes);

    /** Adds to it, and does not wait: a call that follows may overtake it. */
    oneway void push(in byte[] bytes);

    /** Returns when so many bytes are in. */
    void settle(long bytes);

    /** The digest, when so many bytes are in. */
    String finish(long bytes);
}
