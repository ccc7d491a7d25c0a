"""What a run takes before anything runs: hours, memory and disk of every step of the graph, by formulas that `docs/gpu.md` states.

`costs` lists the steps and counts a model's bytes and speeds, `hub` and `local` turn a preset's steps into costs, `report` prints them, `check` looks whether
they and all else are here. What an
algorithm, a mitigation or a search takes is stated by its section of the preset (`llm.config.base`).
"""
