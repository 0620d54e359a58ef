// Drives a ledger with Hyperledger's own Node client and prints what it saw as one JSON object.
// Usage: node client.mjs '{"endpoint":…,"tlsCa":…,"mspId":…,"certificate":…,"privateKey":…,"channel":…,"chaincode":…}'  (PEM texts)
import * as grpc from '@grpc/grpc-js';
import { common } from '@hyperledger/fabric-protos';
import { checkpointers, connect, hash, signers } from '@hyperledger/fabric-gateway';
import { createPrivateKey } from 'node:crypto';

const settings = JSON.parse(process.argv[2]);
const client = new grpc.Client(settings.endpoint, grpc.credentials.createSsl(Buffer.from(settings.tlsCa)));
const gateway = connect({
    client,
    identity: { mspId: settings.mspId, credentials: Buffer.from(settings.certificate) },
    signer: signers.newPrivateKeySigner(createPrivateKey(settings.privateKey)),
    hash: hash.sha256,
});
const network = gateway.getNetwork(settings.channel);
const contract = network.getContract(settings.chaincode);
const text = (bytes) => Buffer.from(bytes).toString();
const seen = {};

async function first(stream, count) {
    const items = [];
    for await (const item of stream) {
        items.push(item);
        if (items.length === count) break;
    }
    stream.close();
    return items;
}

async function failure(action) {
    try {
        await action();
    } catch (error) {
        return { type: error.name, code: error.code, details: error.details?.map?.((d) => [d.mspId, d.message]), transactionId: error.transactionId };
    }
    return null;
}

seen.version = JSON.parse(text(await contract.evaluateTransaction('version')));

const live = first(await network.getChaincodeEvents(settings.chaincode), 1);
const submitted = await contract.submitAsync('heartbeat');
const status = await submitted.getStatus();
seen.heartbeat = { result: JSON.parse(text(submitted.getResult())), successful: status.successful, code: status.code, block: Number(status.blockNumber) };
seen.liveEvent = (await live).map((e) => [e.eventName, JSON.parse(text(e.payload)), e.transactionId === submitted.getTransactionId(), Number(e.blockNumber)]);

await contract.submitTransaction('heartbeat');
const replayed = await first(await network.getChaincodeEvents(settings.chaincode, { startBlock: BigInt(seen.heartbeat.block) }), 2);
seen.replayed = replayed.map((e) => [e.eventName, JSON.parse(text(e.payload))]);
const checkpointer = checkpointers.inMemory();
checkpointer.checkpointTransaction(replayed[0].blockNumber, replayed[0].transactionId);
const resumed = await first(await network.getChaincodeEvents(settings.chaincode, { checkpoint: checkpointer }), 1);
seen.resumedAtSecond = resumed[0].transactionId === replayed[1].transactionId;

const blocks = await first(await network.getBlockEvents({ startBlock: 0n }), 2);
seen.blocks = blocks.map((b) => [b.getHeader().getNumber(), b.getData().getDataList().length]);
const filtered = await first(await network.getFilteredBlockEvents({ startBlock: BigInt(seen.heartbeat.block) }), 1);
seen.filtered = filtered[0].getFilteredTransactionsList().map((t) => [t.getTxid() === submitted.getTransactionId(), t.getTxValidationCode()]);

seen.evaluateRefused = await failure(() => contract.evaluateTransaction('no_such_function'));
seen.endorseRefused = await failure(() => contract.submitTransaction('no_such_function'));

// Two transactions on the same state: one must lose, and the client must call it a commit error.
const [one, two] = await Promise.all([contract.newProposal('heartbeat').endorse(), contract.newProposal('heartbeat').endorse()]);
await (await one.submit()).getStatus();
seen.conflict = (await (await two.submit()).getStatus()).code;

gateway.close();
client.close();
console.log(JSON.stringify(seen));
