package wiremesh.peers;

import wiremesh.peers.Values.BizException;
import wiremesh.peers.Values.Pojo;

/** The service that every SOFARPC peer offers with the hessian2 and JSON serializations. */
public interface Hello {
    int plus(int a, int b);

    String echo(String text);

    byte[] blob(byte[] bytes);

    Pojo pojo(Pojo value);

    /** Always throws a checked exception with code 42 and this message. */
    String fail(String why) throws BizException;

    /** Always throws an {@link IllegalArgumentException} with this message. */
    String failRuntime(String why);

    String slow(int millis);

    /** Counts a call under a key; called one-way. (JSON cannot carry a method that returns nothing.) */
    String note(String key);

    /** How often {@link #note} was called with this key. */
    int noted(String key);

    /** Returns the request baggage {@code ask} and sets the response baggage {@code answer}. */
    String baggage();
}
