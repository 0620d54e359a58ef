"""An auditor who knows the rules of `tests.support.next_contract`."""

from gateway.auditor.export import BlockSource
from gateway.auditor.verify import Auditor, AuditReport
from tests.support.next_contract import NEXT


async def audited(client: BlockSource) -> AuditReport:
    """The whole ledger, verified from its first block on."""
    auditor = Auditor(rules=NEXT.rules)
    async for block in client.blocks(start=0, stop=await client.height() - 1):
        auditor.accept(block)
    return auditor.report()
