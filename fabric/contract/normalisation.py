"""Round 0, of a task that asks for it: what the hospitals sum is no update but statistics of their inputs, and the candidate no model
but the inputs' mean and standard deviation.

It goes through the phases of every round. The committee confirms the candidate's digest and scores nothing, so validation patients spend
nothing, trust sees attendance and integrity alone, and nobody is paid. Where the candidate is not accepted, the task goes on with inputs
as they are.
"""

from fabric.contract.records import TaskTerms

ROUND = 0


def first_round(terms: TaskTerms) -> int:
    """The number of a task's first round."""
    return ROUND if terms["normalisation"] else ROUND + 1


def budget_micro(terms: TaskTerms, number: int) -> int:
    """What an accepted round pays out of the task's reward, which is that of its training rounds."""
    return 0 if number == ROUND else terms["reward_micro"] // terms["rounds"]
