"""Makes a simulator model from real choices, in four steps with files between them.

              topics        ->  real choices in a file, if they are not in one                    choices.jsonl
    collect   real choices  ->  several draws each of a strong and a weak engine   strong.jsonl weak.jsonl
    select    both          ->  the scenes that teach most, a chosen and a rejected draw each    selected.jsonl
    train     selected      ->  supervised fine-tuning, then direct preference optimisation      sft/, candidate/
    judge     candidate     ->  before and after, on users and days that no step has seen     verdict.json, promoted/

Each step reads the files of the one before from one folder, can be run alone, and goes on where it was killed.
"""
