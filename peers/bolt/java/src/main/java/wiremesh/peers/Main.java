package wiremesh.peers;

import com.alipay.sofa.rpc.common.RpcConfigs;
import java.util.Arrays;

/**
 * {@code Main ROLE ARGUMENTS}: a server ({@code sofarpc-server PORT}, {@code sofabolt-server PORT})
 * prints {@code ready ADDRESS} and runs until it is killed; a client
 * ({@code sofarpc-client STEPS ADDRESS VERSION SERVER}, {@code sofabolt-client ...}) prints a line
 * a step and exits.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        // All are read when SOFABolt's classes load, so they come before anything else.
        System.setProperty("bolt.tcp.heartbeat.interval", "500");
        // A busy machine may be late with some; three would close the connection.
        System.setProperty("bolt.tcp.heartbeat.maxtimes", "20");
        if (System.getProperty("logging.path") == null) {
            System.setProperty("logging.path", System.getProperty("java.io.tmpdir"));
        }
        RpcConfigs.putValue("invoke.baggage.enable", true);
        RpcConfigs.putValue("transport.payload.max", 64 << 20);
        String[] rest = Arrays.copyOfRange(args, 1, args.length);
        switch (args[0]) {
            case "sofarpc-server" -> SofaRpcServer.run(Integer.parseInt(rest[0]));
            case "sofabolt-server" -> SofaBoltServer.run(Integer.parseInt(rest[0]));
            case "sofarpc-client" -> SofaRpcClient.run(Target.parse(rest));
            case "sofabolt-client" -> SofaBoltClient.run(Target.parse(rest));
            default -> throw new IllegalArgumentException("no role " + args[0]);
        }
    }

    static void ready(int port) throws InterruptedException {
        System.out.println("ready 127.0.0.1:" + port);
        System.out.flush();
        Thread.currentThread().join();
    }
}
