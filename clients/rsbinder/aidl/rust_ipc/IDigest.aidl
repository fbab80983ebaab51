// SPDX-License-Identifier: GPL-2.0

package rust_ipc;

import rust_ipc.IProgress;
import rust_ipc.IStream;

/** Says the SHA-256 of what it is given, in hexadecimal. */
interface IDigest {
    /** Of a text, in UTF-8. */
    String ofText(String text);

    /** Of the bytes of one message. */
    String ofBytes(in byte[] bytes);

    /** Of what is left to read of a file, whose descriptor travels. */
    String ofFile(in ParcelFileDescriptor file);

    /** Of what will be written. `progress` hears how it goes. */
    IStream open(IProgress progress);

    /** A file, open for reading, with a line for each digest this service has made. */
    ParcelFileDescriptor journal();

    /** Returns when so many callers are in this method, and how many threads took their calls. */
    int gather(int callers);

    /** Counts `client`, an object of a client's, as present until it dies. */
    void join(IBinder client);

    /** How many have joined that are not dead. */
    int present();
}
