package wiremesh.peers;

import com.alipay.remoting.InvokeContext;
import com.alipay.remoting.Url;
import com.alipay.sofa.rpc.client.ProviderInfo;
import com.alipay.sofa.rpc.core.request.SofaRequest;
import com.alipay.sofa.rpc.ext.Extension;
import com.alipay.sofa.rpc.transport.ClientTransportConfig;
import com.alipay.sofa.rpc.transport.bolt.BoltClientTransport;

/** SOFARPC only ever speaks Bolt v1; as its "bolt" transport this speaks whatever the target wants. */
@Extension(value = "bolt", override = true, order = 100)
public final class VersionedTransport extends BoltClientTransport {
    private static Target target;

    public VersionedTransport(ClientTransportConfig config) {
        super(config);
    }

    static void use(Target t) {
        target = t;
        Tap.install(RPC_CLIENT);
    }

    @Override
    protected Url convertProviderToUrl(ClientTransportConfig config, ProviderInfo provider) {
        Url url = super.convertProviderToUrl(config, provider);
        target.apply(url);
        return url;
    }

    @Override
    protected InvokeContext createInvokeContext(SofaRequest request) {
        InvokeContext context = super.createInvokeContext(request);
        context.put(InvokeContext.BOLT_CRC_SWITCH, target.crcSwitch());
        return context;
    }
}
