package wiremesh.peers;

import com.alipay.remoting.ConnectionEventType;
import com.alipay.remoting.rpc.RpcClient;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import java.util.concurrent.atomic.AtomicInteger;

/** Counts the heartbeat answers on a client's connections, which SOFABolt itself does not show. */
final class Tap extends ChannelInboundHandlerAdapter {
    static final AtomicInteger ACKS = new AtomicInteger();
    static final AtomicInteger CONNECTIONS = new AtomicInteger();

    private Tap() {}

    static void install(RpcClient client) {
        client.addConnectionEventProcessor(ConnectionEventType.CONNECT, (remote, connection) -> {
            CONNECTIONS.incrementAndGet();
            Channel channel = connection.getChannel();
            channel.pipeline().addFirst(new Tap());
        });
    }

    /** Only right while nothing but heartbeats is in flight: then each read starts with an answer. */
    @Override
    public void channelRead(ChannelHandlerContext context, Object message) throws Exception {
        if (message instanceof ByteBuf bytes && bytes.readableBytes() >= 20) {
            int at = bytes.readerIndex();
            int type = bytes.getByte(at) == 1 ? at + 1 : at + 2;
            if (bytes.getByte(type) == 0 && bytes.getShort(type + 1) == 0) ACKS.incrementAndGet();
        }
        super.channelRead(context, message);
    }

    /** Stays idle until heartbeats were answered, on connections that live all the while. */
    static String heartbeats() {
        int acks = ACKS.get();
        int connections = CONNECTIONS.get();
        long start = System.nanoTime();
        while (ACKS.get() < acks + 4 && Steps.millisSince(start) < 10_000) Services.sleep(20);
        Steps.check(ACKS.get() >= acks + 4, (ACKS.get() - acks) + " answers in 10 s");
        Steps.equal(connections, CONNECTIONS.get());
        return "4 answered, no new connection";
    }
}
