package wiremesh.peers;

import com.alipay.remoting.Url;

/** Whom a client calls, how, and what it may expect. */
record Target(String steps, String host, int port, Version version, Kind server) {
    enum Version { V1, V2, V2CRC }

    enum Kind {
        SOFARPC, SOFABOLT, NODE, PYTHON;

        boolean java() {
            return this == SOFARPC || this == SOFABOLT;
        }
    }

    static Target parse(String[] args) {
        int colon = args[1].lastIndexOf(':');
        return new Target(args[0], args[1].substring(0, colon),
            Integer.parseInt(args[1].substring(colon + 1)),
            Version.valueOf(args[2].toUpperCase()), Kind.valueOf(args[3].toUpperCase()));
    }

    /** SOFABolt's protocol code (the frame's first byte). */
    byte code() {
        return (byte) (version == Version.V1 ? 1 : 2);
    }

    /** SOFABolt's protocol version (the second byte of a v2 frame); 2 means checksums. */
    byte minor() {
        return (byte) (version == Version.V2CRC ? 2 : 1);
    }

    /**
     * SOFABolt sets the checksum switch by default, also in frames whose version has no checksum.
     * The Node server then waits for one, so it gets what it understands.
     */
    boolean crcSwitch() {
        return version == Version.V2CRC || server != Kind.NODE;
    }

    String address() {
        return host + ":" + port;
    }

    /** How a plain SOFABolt client writes it. */
    String url() {
        return address() + "?_CONNECTTIMEOUT=3000&_PROTOCOL=" + code() + "&_VERSION=" + minor();
    }

    void apply(Url url) {
        url.setProtocol(code());
        url.setVersion(minor());
    }
}
