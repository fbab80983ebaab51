// SPDX-License-Identifier: GPL-2.0

package rust_ipc;

/** Hears about a stream. */
interface IProgress {
    /** So many bytes are in. A call back into the client, while it waits in `write`. */
    void written(long bytes);

    /** This is the digest. */
    oneway void finished(String digest);
}
