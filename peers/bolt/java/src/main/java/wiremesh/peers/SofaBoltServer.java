package wiremesh.peers;

import com.alipay.remoting.BizContext;
import com.alipay.remoting.Connection;
import com.alipay.remoting.rpc.RpcServer;
import com.alipay.remoting.rpc.protocol.SyncUserProcessor;
import com.alipay.sofa.rpc.codec.bolt.SofaRpcSerializationRegister;
import com.alipay.sofa.rpc.core.request.SofaRequest;
import com.alipay.sofa.rpc.core.response.SofaResponse;
import com.alipay.sofa.rpc.message.MessageBuilder;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Map;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import wiremesh.peers.Values.Ask;
import wiremesh.peers.Values.BizException;
import wiremesh.peers.Values.Push;

/**
 * A plain SOFABolt server. It answers {@link Ask}, and, so that SOFARPC clients of every language
 * can call it, SOFARPC's own request class.
 */
final class SofaBoltServer {
    private static final ExecutorService POOL = Executors.newCachedThreadPool();
    private static RpcServer server;

    private SofaBoltServer() {}

    static void run(int port) throws Exception {
        new SofaRpcSerializationRegister().doRegisterCustomSerializer();
        server = new RpcServer("127.0.0.1", port, true);
        server.registerUserProcessor(new AskProcessor());
        server.registerUserProcessor(new SofaRequestProcessor());
        server.startup();
        Main.ready(port);
    }

    private static final class AskProcessor extends SyncUserProcessor<Ask> {
        @Override
        public Object handleRequest(BizContext context, Ask ask) throws Exception {
            switch (ask.op) {
                case "echo":
                    return ask.text;
                case "null":
                    return null;
                case "slow":
                    Thread.sleep(ask.number);
                    return "slept " + ask.number;
                case "fail":
                    throw new BizException(ask.number, ask.text);
                case "note":
                    Services.note(ask.text);
                    return null;
                case "noted":
                    return Services.noted(ask.text);
                case "push": {
                    Connection back = context.getConnection();
                    Object answer = server.invokeSync(back, new Push(ask.text), 2000);
                    server.oneway(back, new Push("one-way " + ask.text));
                    return "the client said " + answer;
                }
                default:
                    throw new IllegalArgumentException(ask.op);
            }
        }

        @Override
        public String interest() {
            return Ask.class.getName();
        }

        @Override
        public Executor getExecutor() {
            return POOL;
        }
    }

    /** What SOFARPC's server does, as far as the clients' steps need it. */
    private static final class SofaRequestProcessor extends SyncUserProcessor<SofaRequest> {
        private static final Map<String, Object> SERVICES = Map.of(
            Hello.class.getName() + ":1.0", new Services.HelloService(),
            Hello.class.getName() + ":1.0:blue", new Services.HelloService(),
            ProtoHello.class.getName() + ":1.0", new Services.ProtoService());

        @Override
        public Object handleRequest(BizContext context, SofaRequest request) throws Exception {
            Object service = SERVICES.get(request.getTargetServiceUniqueName());
            if (service == null) {
                return error("cannot find service " + request.getTargetServiceUniqueName());
            }
            Method method = find(service, request);
            if (method == null) return error("cannot find method " + request.getMethodName());
            SofaResponse response = new SofaResponse();
            try {
                response.setAppResponse(method.invoke(service, request.getMethodArgs()));
            } catch (InvocationTargetException e) {
                // Hessian carries the exception, the other serializations its text.
                response.setAppResponse(e.getCause());
            }
            return response;
        }

        private static SofaResponse error(String message) {
            return MessageBuilder.buildSofaErrorResponse(message);
        }

        private static Method find(Object service, SofaRequest request) {
            for (Method method : service.getClass().getMethods()) {
                if (method.getName().equals(request.getMethodName())
                    && method.getDeclaringClass() == service.getClass() && !method.isBridge()) {
                    method.setAccessible(true);
                    return method;
                }
            }
            return null;
        }

        @Override
        public String interest() {
            return SofaRequest.class.getName();
        }

        @Override
        public Executor getExecutor() {
            return POOL;
        }
    }
}
