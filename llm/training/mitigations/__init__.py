"""Methods that change training so that it costs less ability (the paper, section 4): one short file each.

A method is a penalty or a hook and nothing else: its file has `make(setting, materials) -> Mitigation`, which its entry of
`llm.methods` names; `llm.stages.mitigate` trains with it.
"""
