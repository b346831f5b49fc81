package wiremesh.peers;

import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.google.protobuf.StringValue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import wiremesh.peers.Values.BizException;
import wiremesh.peers.Values.Pojo;

/** The services, as both Java servers run them. */
final class Services {
    private static final ConcurrentHashMap<String, AtomicInteger> NOTES = new ConcurrentHashMap<>();

    private Services() {}

    static void note(String key) {
        NOTES.computeIfAbsent(key, k -> new AtomicInteger()).incrementAndGet();
    }

    static int noted(String key) {
        AtomicInteger count = NOTES.get(key);
        return count == null ? 0 : count.get();
    }

    static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static final class HelloService implements Hello {
        @Override
        public int plus(int a, int b) {
            return a + b;
        }

        @Override
        public String echo(String text) {
            return text;
        }

        @Override
        public byte[] blob(byte[] bytes) {
            return bytes;
        }

        @Override
        public Pojo pojo(Pojo value) {
            return value;
        }

        @Override
        public String fail(String why) throws BizException {
            throw new BizException(42, why);
        }

        @Override
        public String failRuntime(String why) {
            throw new IllegalArgumentException(why);
        }

        @Override
        public String slow(int millis) {
            sleep(millis);
            return "slept " + millis;
        }

        @Override
        public String note(String key) {
            Services.note(key);
            return key;
        }

        @Override
        public int noted(String key) {
            return Services.noted(key);
        }

        @Override
        public String baggage() {
            RpcInvokeContext context = RpcInvokeContext.getContext();
            context.putResponseBaggage("answer", "from the server");
            return context.getRequestBaggage("ask");
        }
    }

    static final class ProtoService implements ProtoHello {
        @Override
        public StringValue echo(StringValue text) {
            return text;
        }

        @Override
        public StringValue fail(StringValue why) {
            throw new IllegalArgumentException(why.getValue());
        }

        @Override
        public StringValue slow(StringValue millis) {
            sleep(Integer.parseInt(millis.getValue()));
            return StringValue.of("slept " + millis.getValue());
        }

        @Override
        public StringValue note(StringValue key) {
            Services.note(key.getValue());
            return key;
        }

        @Override
        public StringValue noted(StringValue key) {
            return StringValue.of("" + Services.noted(key.getValue()));
        }
    }
}
