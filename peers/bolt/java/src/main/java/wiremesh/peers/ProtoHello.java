package wiremesh.peers;

import com.google.protobuf.StringValue;

/**
 * The service that every SOFARPC peer offers with the protobuf serialization: one message in, one
 * out. {@link StringValue} ships with protobuf's own runtimes, so no peer needs generated code.
 */
public interface ProtoHello {
    StringValue echo(StringValue text);

    StringValue fail(StringValue why);

    StringValue slow(StringValue millis);

    StringValue note(StringValue key);

    /** The count as decimal digits. */
    StringValue noted(StringValue key);
}
