"""Methods that change training so that it costs less ability (the paper, section 4, and later ones): one short file each.

A method is a penalty or a hook and nothing else: its file has `make(setting, materials) -> Mitigation`, which its entry of
`llm.methods` names; `llm.stages.mitigate` trains with it, once on RSF's samples or in every iteration of RSF or DPO.
"""
