-- A provider may be renamed while its mail is on the way: what is given back goes where the reservation is by now.
DROP TRIGGER spend;
CREATE TRIGGER spend INSTEAD OF INSERT ON change WHEN NEW.kind = 9 BEGIN
    UPDATE counter SET amount = amount - NEW.part
    WHERE NEW.part <> 0 AND provider = (SELECT provider FROM reservation WHERE id = NEW.message)
      AND period IN (SELECT value FROM json_each(NEW.owed));
    INSERT INTO spent (provider, at, amount)
    SELECT provider, NEW.due_at, NEW.size FROM reservation WHERE id = NEW.message AND NEW.size > 0;
    DELETE FROM reservation WHERE id = NEW.message;
END;
