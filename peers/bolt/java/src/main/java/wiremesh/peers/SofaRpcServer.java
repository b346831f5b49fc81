package wiremesh.peers;

import com.alipay.sofa.rpc.config.ApplicationConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;

/** SOFARPC over Bolt, without a registry: {@link Hello}, {@link Hello} again as "blue", {@link ProtoHello}. */
final class SofaRpcServer {
    private SofaRpcServer() {}

    static void run(int port) throws InterruptedException {
        ServerConfig server = new ServerConfig().setProtocol("bolt")
            .setHost("127.0.0.1").setBoundHost("127.0.0.1").setPort(port)
            .setDaemon(false).setMaxThreads(200).setQueues(1000);
        export(server, Hello.class, new Services.HelloService(), null);
        export(server, Hello.class, new Services.HelloService(), "blue");
        export(server, ProtoHello.class, new Services.ProtoService(), null);
        Main.ready(port);
    }

    private static <T> void export(ServerConfig server, Class<T> type, T service, String uniqueId) {
        ProviderConfig<T> provider = new ProviderConfig<T>()
            .setApplication(new ApplicationConfig().setAppName("wiremesh-server"))
            .setInterfaceId(type.getName()).setRef(service).setServer(server).setRegister(false);
        if (uniqueId != null) provider.setUniqueId(uniqueId);
        provider.export();
    }
}
