"""Methods that change training so that it costs less ability (the paper, section 4): one short file each.

A method is a penalty or a hook (`llm.training.mitigations.mitigation`) and nothing else; `llm.training.mitigations.table` lists them all,
`llm.stages.mitigate` trains with them.
"""
