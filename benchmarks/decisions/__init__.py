"""How good are the decisions? Alarms, promotions and whole loops beside the usual ways."""
