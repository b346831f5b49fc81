package wiremesh.peers;

import static wiremesh.peers.Steps.check;
import static wiremesh.peers.Steps.equal;
import static wiremesh.peers.Steps.nonce;
import static wiremesh.peers.Steps.text;
import static wiremesh.peers.Steps.thrown;

import com.alipay.remoting.BizContext;
import com.alipay.remoting.InvokeCallback;
import com.alipay.remoting.InvokeContext;
import com.alipay.remoting.exception.RemotingException;
import com.alipay.remoting.rpc.RpcClient;
import com.alipay.remoting.rpc.RpcResponseFuture;
import com.alipay.remoting.rpc.exception.InvokeServerException;
import com.alipay.remoting.rpc.exception.InvokeTimeoutException;
import com.alipay.remoting.rpc.protocol.SyncUserProcessor;
import com.alipay.sofa.rpc.codec.bolt.SofaRpcSerializationRegister;
import com.alipay.sofa.rpc.common.RemotingConstants;
import com.alipay.sofa.rpc.core.request.SofaRequest;
import com.alipay.sofa.rpc.core.response.SofaResponse;
import com.alipay.sofa.rpc.message.MessageBuilder;
import com.google.protobuf.StringValue;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import wiremesh.peers.Target.Kind;
import wiremesh.peers.Target.Version;
import wiremesh.peers.Values.Ask;
import wiremesh.peers.Values.Push;
import wiremesh.peers.Values.Stranger;

/**
 * The steps of a plain SOFABolt client: its own message class with the SOFABolt server, and
 * SOFARPC's request class with every other.
 */
final class SofaBoltClient {
    private static final int[] SIZES = {0, 1, 100, 4096, 65535, 65536, 1 << 20, 16 << 20};
    private final Target target;
    private final String url;
    private final RpcClient client = new RpcClient();
    private final BlockingQueue<String> pushed = new LinkedBlockingQueue<>();
    private final Steps steps = new Steps();

    private SofaBoltClient(Target target) {
        this.target = target;
        url = target.url();
    }

    static void run(Target target) {
        new SofaRpcSerializationRegister().doRegisterCustomSerializer();
        SofaBoltClient self = new SofaBoltClient(target);
        self.client.registerUserProcessor(self.new PushProcessor());
        self.client.startup();
        Tap.install(self.client);
        switch (target.steps()) {
            case "all" -> self.all();
            case "push" -> self.push();
            case "gone" -> Faults.gone(self.steps, Map.of("bolt", self::echo));
            case "restart" -> Faults.restart(self.steps, self::echo);
            default -> throw new IllegalArgumentException("no steps " + target.steps());
        }
        self.steps.end();
    }

    private void all() {
        values();
        styles();
        errors();
        steps.step("heartbeats", Tap::heartbeats);
    }

    private void values() {
        for (int size : SIZES) {
            if (size == 0 && target.server() == Kind.PYTHON) continue; // It never answers without bytes.
            steps.step("payload " + size, () -> {
                String s = text(size);
                equal(s, echo(s));
                return "the same text";
            });
        }
        if (target.server() == Kind.SOFABOLT) {
            steps.step("null", () -> {
                equal("null", "" + sync(new Ask("null", null, 0), 3000));
                return "null";
            });
        }
        if (target.version() != Version.V1) {
            steps.step("checksum off", () -> {
                // The switch is per request; the frames around this one keep theirs.
                String s = nonce();
                Object request = request("echo", s, 0);
                InvokeContext plain = context(request);
                plain.put(InvokeContext.BOLT_CRC_SWITCH, false);
                equal(s, value(client.invokeSync(url, request, plain, 3000)));
                equal(s, echo(s));
                return "for one request";
            });
        }
    }

    private void styles() {
        steps.step("future", () -> {
            List<String> sent = new ArrayList<>();
            List<RpcResponseFuture> answers = new ArrayList<>();
            for (int i = 0; i < 50; i++) {
                sent.add(nonce());
                Object request = request("echo", sent.get(i), 0);
                answers.add(client.invokeWithFuture(url, request, context(request), 5000));
            }
            for (int i = 0; i < 50; i++) equal(sent.get(i), value(answers.get(i).get(5000)));
            return "50 at once";
        });
        steps.step("callback", () -> {
            String sent = nonce();
            equal(sent, value(callback(request("echo", sent, 0), 3000).get(5, TimeUnit.SECONDS)));
            CompletableFuture<Object> late = callback(request("slow", null, 700), 300);
            thrown(InvokeTimeoutException.class, () -> late.get(5, TimeUnit.SECONDS));
            return "value, timeout";
        });
        steps.step("one-way", () -> {
            String key = nonce();
            Object note = request("note", key, 0);
            for (int i = 0; i < 10; i++) client.oneway(url, note, context(note));
            return Faults.counted(10, () ->
                Integer.parseInt("" + value(sync(request("noted", key, 0), 3000))));
        });
        steps.step("overtaking", () -> {
            CompletableFuture<Object> slow = callback(request("slow", null, 700), 5000);
            String sent = nonce();
            equal(sent, echo(sent));
            check(!slow.isDone(), "the slow answer first");
            equal("slept 700", value(slow.get(5, TimeUnit.SECONDS)));
            return "the fast answer comes before the slow one";
        });
        steps.step("concurrent", () -> Faults.concurrent(this::echo, 50, 100));
    }

    private void errors() {
        steps.step("timeout", () -> {
            long start = System.nanoTime();
            thrown(InvokeTimeoutException.class, () -> sync(request("slow", null, 700), 300));
            long end = start + 1_000_000_000L;
            int calls = 0;
            for (; System.nanoTime() < end; calls++) {
                String s = nonce();
                equal(s, echo(s));
            }
            return calls + " right answers around the late one";
        });
        if (target.server() == Kind.SOFABOLT) {
            steps.step("exception", () -> {
                String why = nonce();
                String seen = Steps.messages(thrown(InvokeServerException.class,
                    () -> sync(new Ask("fail", why, 9), 3000)));
                check(seen.contains("BizException") && seen.contains(why), seen);
                return seen;
            });
        }
        if (target.server().java()) {
            steps.step("unknown class", () -> {
                String seen = Steps.messages(thrown(InvokeServerException.class,
                    () -> sync(new Stranger(), 3000)));
                check(seen.contains("No user processor found"), seen);
                return seen;
            });
        }
        if (target.server() != Kind.SOFABOLT) {
            steps.step("unknown service", () -> {
                SofaRequest request = request(target.server() == Kind.PYTHON ? ProtoHello.class : Hello.class,
                    "echo", "x");
                request.setTargetServiceUniqueName("wiremesh.peers.Nobody:1.0");
                try {
                    return error(sync(request, 3000));
                } catch (RemotingException e) {
                    return Steps.messages(e);
                }
            });
        }
    }

    /** The server's own requests to this client, with ids that this client also uses. */
    private void push() {
        steps.step("push", () -> {
            for (int i = 0; i < 50; i++) {
                String sent = nonce();
                CompletableFuture<Object> answer = callback(new Ask("push", sent, 0), 5000);
                String mine = nonce();
                equal(mine, echo(mine));
                equal("the client said got " + sent, answer.get(5, TimeUnit.SECONDS));
                equal(sent, pushed.poll(3, TimeUnit.SECONDS));
                equal("one-way " + sent, pushed.poll(3, TimeUnit.SECONDS));
            }
            return "50 requests and 50 one-way requests from the server";
        });
        steps.step("heartbeats", Tap::heartbeats);
    }

    private String echo(String text) throws Exception {
        return (String) value(sync(request("echo", text, 0), 30_000));
    }

    /** The same question in the terms of the server in question. */
    private Object request(String op, String text, int number) {
        return switch (target.server()) {
            case SOFABOLT -> new Ask(op, text, number);
            case PYTHON -> request(ProtoHello.class, op,
                StringValue.of(op.equals("slow") ? "" + number : text));
            case SOFARPC, NODE -> op.equals("slow")
                ? request(Hello.class, op, number)
                : request(Hello.class, op, text);
        };
    }

    private SofaRequest request(Class<?> service, String method, Object argument) {
        Class<?> type = argument instanceof Integer ? int.class : argument.getClass();
        SofaRequest request = MessageBuilder.buildSofaRequest(service, method,
            new Class<?>[] {type}, new Object[] {argument});
        request.setTargetServiceUniqueName(service.getName() + ":1.0");
        request.setTargetAppName("wiremesh-server");
        request.setSerializeType(serializer());
        return request;
    }

    private InvokeContext context(Object request) {
        InvokeContext context = new InvokeContext();
        context.put(InvokeContext.BOLT_CUSTOM_SERIALIZER, serializer());
        context.put(InvokeContext.BOLT_CRC_SWITCH, target.crcSwitch());
        if (request instanceof SofaRequest rpc) {
            // What SOFARPC's protobuf reader needs to know about an answer.
            context.put(RemotingConstants.HEAD_TARGET_SERVICE, rpc.getTargetServiceUniqueName());
            context.put(RemotingConstants.HEAD_METHOD_NAME, rpc.getMethodName());
        }
        return context;
    }

    private Object sync(Object request, int timeout) throws Exception {
        return client.invokeSync(url, request, context(request), timeout);
    }

    private byte serializer() {
        return (byte) (target.server() == Kind.PYTHON ? 11 : 1);
    }

    private static Object value(Object answer) {
        if (!(answer instanceof SofaResponse response)) return answer;
        if (response.isError()) throw new IllegalStateException(response.getErrorMsg());
        if (response.getAppResponse() instanceof Throwable t) throw new IllegalStateException(t);
        return response.getAppResponse() instanceof StringValue s ? s.getValue() : response.getAppResponse();
    }

    private static String error(Object answer) {
        SofaResponse response = (SofaResponse) answer;
        check(response.isError(), response);
        return response.getErrorMsg();
    }

    private CompletableFuture<Object> callback(Object request, int timeout) throws Exception {
        CompletableFuture<Object> result = new CompletableFuture<>();
        client.invokeWithCallback(url, request, context(request), new InvokeCallback() {
            @Override
            public void onResponse(Object answer) {
                result.complete(answer);
            }

            @Override
            public void onException(Throwable t) {
                result.completeExceptionally(t);
            }

            @Override
            public Executor getExecutor() {
                return null;
            }
        }, timeout);
        return result;
    }

    private final class PushProcessor extends SyncUserProcessor<Push> {
        @Override
        public Object handleRequest(BizContext context, Push push) {
            pushed.add(push.text);
            return "got " + push.text;
        }

        @Override
        public String interest() {
            return Push.class.getName();
        }
    }
}
